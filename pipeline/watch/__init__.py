"""`cxr watch`: what a server logged, beside what its models were trained with."""

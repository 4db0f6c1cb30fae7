"""The DAG on Kubeflow Pipelines: compiled to IR, executed here step by step, submitted."""

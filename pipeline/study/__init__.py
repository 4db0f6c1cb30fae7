"""The whole experiment over many seeds, by the pipeline's own code, without a TFX run a seed.

`images` looks at the data folder once and splits it once a seed; `features` runs the frozen
networks once an image; `experiment` trains and answers, a recipe and a seed at a time, and
`fusion` one head on all backbones' features; `outcomes` adds ensemble, cascade and champion;
`report` counts, `tables` shows.
"""

"""The FPGA backend: what the spike core runs, how it is mapped to a board, and the files of an artifact."""

"""SpikeNM: N of M weights kept in every block, in one shot or learned with the spikes (`train`, which needs torch)."""

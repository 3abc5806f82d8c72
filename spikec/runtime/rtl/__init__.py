"""Co-simulation: the generated SystemVerilog through Verilator, compared with the simulator event by event."""

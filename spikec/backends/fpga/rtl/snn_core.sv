// A spike core: adds the weights of every spike of a token, fires at the end of the step (docs/spike-core.md).
// Nothing in its pipeline can stall: a fire pass waits until all queues behind have room for all that it may send,
// and the counts WALK and FIRE keep two uses of one membrane apart. A number after a name is the pipeline stage.
module snn_core #(
    parameter int IN_GROUPS = 4,
    parameter int IN_LANES = 16,
    parameter int IN_GW = 2,     // bits of the group in a token that comes in
    parameter int LANES = 16,
    parameter int BLOCKS = 1,    // blocks of a lane
    parameter int KEPT = 1,
    parameter int BLOCK = 1,
    parameter int OUT_GW = 1,    // bits of the group in a token that goes out
    parameter int WB = 8,
    parameter int VB = 16,
    parameter int BB = 16,
    parameter int AB = 24,
    parameter int SHIFT = 0,
    parameter int DECAY = 0,
    parameter int AT = 0,
    parameter int RESET = 0,
    parameter int MEMBRANE = 0,  // 1 sends membranes, 0 spikes
    parameter int WALK = 3,      // cycles of a spike
    parameter int FIRE = 7,      // cycles of a fire pass
    parameter int BANK = 1024,
    parameter     STEM = "c0",
    parameter int LOADED = 0,    // 1: the loader fills the memories, 0: the files STEM.* do
    parameter int LOAD_WIDTH = 32,
    parameter int LOAD_AW = 1,
    localparam int IW = 2 + IN_GW + IN_LANES,
    localparam int PW = MEMBRANE != 0 ? LANES * VB : LANES,
    localparam int OW = 2 + OUT_GW + PW
) (
    input  logic          clk,
    input  logic          rst,
    input  logic          some,
    input  logic [IW-1:0] token,
    output logic          pop,
    input  logic          room,
    output logic          push,
    output logic [OW-1:0] push_token,
    input  logic          load_weights,
    input  logic          load_neurons,
    input  logic [LOAD_AW-1:0]    load_address,
    input  logic [LOAD_WIDTH-1:0] load_word
);
  localparam int GROUPS = BLOCKS * BLOCK;
  localparam int RL = BLOCKS * KEPT;
  localparam int WORDS = IN_GROUPS * IN_LANES * RL;
  localparam int WW = WORDS > 1 ? $clog2(WORDS) : 1;
  localparam int AW = GROUPS > 1 ? $clog2(GROUPS) : 1;
  localparam int EB = WB + $clog2(BLOCK);
  localparam int MOST = WALK > FIRE ? WALK : FIRE;
  localparam int CW = $clog2(MOST + 1);
  localparam int LB = IN_LANES > 1 ? $clog2(IN_LANES) : 1;
  localparam int NW = KEPT > 1 ? $clog2(KEPT) : 1;

  // The front end: take a token, walk its spikes, or wait for room and fire.
  typedef enum logic [1:0] {IDLE, SPIKING, WAITING, FIRING} state_t;
  state_t state;
  logic [IN_LANES-1:0] mask, rest;
  logic [IN_GW-1:0] from;
  logic [CW-1:0] count;
  logic [AW-1:0] base;
  logic [NW-1:0] entry;
  logic quiet, clear, last, ready, ends;
  logic walk0, fire0, end0;
  logic [LB-1:0] bit0;

  assign rest = mask & (mask - 1'b1);
  assign last = count == CW'(WALK - 1);
  assign ready = state == IDLE || (state == SPIKING && last && rest == '0) ||
                 (state == FIRING && count == CW'(FIRE - 1));
  assign pop = ready && some && !rst;
  assign ends = token[IW-2];

  assign walk0 = state == SPIKING && count < CW'(RL);
  assign fire0 = !rst && ((state == WAITING && room) || (state == FIRING && count < CW'(GROUPS)));
  assign end0 = state == FIRING && count == CW'(GROUPS);

  always_comb begin
    bit0 = '0;
    for (int b = IN_LANES - 1; b >= 0; b--) if (mask[b]) bit0 = LB'(b);
  end

  always_ff @(posedge clk)
    if (rst) begin
      state <= FIRING;  // the first pass only writes the initial membranes
      count <= '0;
      quiet <= 1'b1;
      clear <= 1'b1;
    end else if (pop) begin
      state <= ends ? WAITING : SPIKING;
      mask <= token[IN_LANES-1:0];
      from <= token[IN_LANES+:IN_GW];
      count <= '0;
      base <= '0;
      entry <= '0;
      quiet <= 1'b0;
      clear <= token[IW-1];
    end else if (ready) state <= IDLE;
    else begin
      case (state)
        SPIKING: begin
          count <= last ? '0 : count + 1'b1;
          if (last) mask <= rest;
          if (last) begin
            base <= '0;
            entry <= '0;
          end else if (entry == NW'(KEPT - 1)) begin
            base <= base + AW'(BLOCK);
            entry <= '0;
          end else entry <= entry + 1'b1;
        end
        WAITING:
        if (room) begin
          state <= FIRING;
          count <= CW'(1);
        end
        FIRING: count <= count + 1'b1;
        default: state <= IDLE;
      endcase
    end

  logic load_unused;  // the address of a larger memory
  assign load_unused = &{1'b0, load_address};

  // Stages 1 to 5: row, address, memory, bank, word.
  logic [4:0] walks, fires, stops;
  logic [4:0][AW-1:0] bases;
  logic [5:0][AW-1:0] groups;
  logic [IN_GW+LB-1:0] row1;
  logic [CW-1:0] count1;
  logic [WW-1:0] address2;
  logic [LANES*EB-1:0] word5;

  always_ff @(posedge clk) begin
    walks <= rst ? '0 : {walks[3:0], walk0};
    fires <= rst ? '0 : {fires[3:0], fire0};
    stops <= rst ? '0 : {stops[3:0], end0 && !quiet};
    bases <= {bases[3:0], base};
    row1 <= (IN_GW + LB)'(from) * (IN_GW + LB)'(IN_LANES) + (IN_GW + LB)'(bit0);
    count1 <= count;
    address2 <= WW'(32'(row1) * RL + 32'(count1));
  end

  snn_weights #(.WIDTH(LANES * EB), .WORDS(WORDS), .BANK(BANK), .STEM(STEM),
                .LOADED(LOADED), .LOAD_WIDTH(LOAD_WIDTH)) weights (
      .clk(clk),
      .address(address2),
      .word(word5),
      .load(load_weights),
      .load_address(WW'(load_address)),
      .load_word(load_word)
  );

  // Stages 5 to 11: the fire pass; which group, and what goes with it.
  logic [5:0] later;    // fire6 .. fire11
  logic [8:0] clears;
  logic [7:0] quiets;
  logic stop6, stop7, stop8;

  logic [AW-1:0] group0, group5, group6, group7, group8, group9, group10, group11;
  assign group0 = state == WAITING ? '0 : AW'(count);
  assign group5 = groups[4];
  assign group6 = groups[5];

  always_ff @(posedge clk) begin
    groups <= {groups[4:0], group0};
    group7 <= group6;
    group8 <= group7;
    group9 <= group8;
    group10 <= group9;
    group11 <= group10;
    later <= rst ? '0 : {later[4:0], fires[4]};
    clears <= {clears[7:0], clear};
    quiets <= {quiets[6:0], quiet};
    {stop8, stop7, stop6} <= rst ? '0 : {stop7, stop6, stops[4]};
  end

  localparam int NB = 3 * VB + BB;  // of a lane, from the lowest bit: threshold, bias, amount, initial
  logic [LANES*NB-1:0] neurons7;
  logic [LANES*VB-1:0] states9;
  logic [LANES-1:0] spikes8, spikes9;

  snn_memory #(.WIDTH(LANES * NB), .WORDS(GROUPS), .FILE({STEM, ".neurons.mem"}),
               .STYLE(GROUPS > (LOADED != 0 ? 32 : 64) ? "block" : LOADED != 0 ? "auto" : "logic"),
               .LOADED(LOADED), .LOAD_WIDTH(LOAD_WIDTH)) neurons (
      .clk(clk),
      .address(group5),
      .word(neurons7),
      .load(load_neurons),
      .load_address(AW'(load_address)),
      .load_word(load_word)
  );

  for (genvar p = 0; p < LANES; p++) begin : g_lane
    snn_lane #(
        .GROUPS(GROUPS), .BLOCK(BLOCK), .WB(WB), .VB(VB), .BB(BB), .AB(AB),
        .SHIFT(SHIFT), .DECAY(DECAY), .AT(AT), .RESET(RESET)
    ) lane (
        .clk(clk),
        .walk5(walks[4]),
        .base5(bases[4]),
        .entry5(word5[p*EB+:EB]),
        .fire5(fires[4]),
        .group5(group5),
        .fire11(later[5]),
        .group11(group11),
        .threshold7(neurons7[p*NB+:VB]),
        .bias7(neurons7[p*NB+VB+:BB]),
        .amount7(neurons7[p*NB+VB+BB+:VB]),
        .initial7(neurons7[p*NB+2*VB+BB+:VB]),
        .clear9(clears[8]),
        .spike8(spikes8[p]),
        .state9(states9[p*VB+:VB])
    );
  end

  // Stage 9: the token. Groups without a spike are not sent.
  logic send9, stop9, clear9;
  assign clear9 = clears[8];

  always_ff @(posedge clk) begin
    spikes9 <= spikes8;
    stop9 <= !rst && stop8;
    send9 <= !rst && later[2] && !quiets[7] && (MEMBRANE != 0 || spikes8 != '0);
  end

  logic [PW-1:0] payload9;
  if (MEMBRANE != 0) begin : g_membranes
    assign payload9 = states9;
    logic unused;
    assign unused = &{1'b0, spikes9};
  end else begin : g_spikes
    assign payload9 = spikes9;
    logic unused;
    assign unused = &{1'b0, states9};
  end
  assign push = send9 || stop9;
  assign push_token = stop9 ? {clear9, 1'b1, {(OW - 2) {1'b0}}} : {MEMBRANE != 0, 1'b0, OUT_GW'(group9), payload9};

`ifndef SYNTHESIS
  always_ff @(posedge clk)
    if (!rst) begin
      assert (!pop || ends || (!token[IW-1] && token[IN_LANES-1:0] != '0)) else $error("a token of no spikes");
      assert (!pop || ends || int'(token[IN_LANES+:IN_GW]) < IN_GROUPS) else $error("a group that is not there");
      assert (!(send9 && stop9)) else $error("two tokens in one cycle");
      assert (!load_weights && !load_neurons) else $error("a memory is loaded while the core runs");
    end
`endif
endmodule

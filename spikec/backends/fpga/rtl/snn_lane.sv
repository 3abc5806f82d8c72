// One lane: a bank of membranes and the arithmetic that adds a weight or fires (docs/integer-neuron.md).
// A number after a name is the pipeline stage: the value stands in the register in that cycle after its issue.
module snn_lane #(
    parameter int GROUPS = 4,
    parameter int BLOCK  = 1,
    parameter int WB = 8,        // weight
    parameter int VB = 16,       // state
    parameter int BB = 16,       // bias
    parameter int AB = 24,       // sum, proved not to overflow
    parameter int SHIFT = 0,     // decay: 1 by a shift, 0 by a 12-bit multiplication
    parameter int DECAY = 0,     // the shift, or what is taken away in 1/4096
    parameter int AT = 0,        // 1 fires at the threshold, 0 above it
    parameter int RESET = 0,     // 0 none, 1 to a value, 2 by subtraction
    localparam int AW = GROUPS > 1 ? $clog2(GROUPS) : 1,
    localparam int IB = $clog2(BLOCK)
) (
    input  logic                 clk,
    input  logic                 walk5,
    input  logic [AW-1:0]        base5,
    input  logic [WB+IB-1:0]     entry5,
    input  logic                 fire5,
    input  logic [AW-1:0]        group5,
    input  logic                 fire11,
    input  logic [AW-1:0]        group11,
    input  logic signed [VB-1:0] threshold7,
    input  logic signed [VB-1:0] amount7,
    input  logic signed [VB-1:0] initial7,
    input  logic signed [BB-1:0] bias7,
    input  logic                 clear9,
    output logic                 spike8,
    output logic signed [VB-1:0] state9
);
  localparam logic signed [VB-1:0] TOP = {1'b0, {(VB - 1){1'b1}}};
  localparam logic signed [VB-1:0] LOW = {1'b1, {(VB - 1){1'b0}}};

  logic signed [AB-1:0] membranes [GROUPS];

  // Read, add, write.
  logic [AW-1:0] address5, address6, address7;
  logic walk6, walk7;
  logic signed [AB-1:0] sum6, sum7;
  logic signed [WB-1:0] weight6;

  if (BLOCK == 1) begin : g_dense
    assign address5 = fire5 ? group5 : base5;
  end else begin : g_block
    assign address5 = fire5 ? group5 : base5 | AW'(entry5[WB+IB-1:WB]);
  end

  always_ff @(posedge clk) begin
    sum6 <= membranes[address5];
    weight6 <= entry5[WB-1:0];
    sum7 <= sum6 + AB'(weight6);
    address6 <= address5;
    address7 <= address6;
    walk6 <= walk5;
    walk7 <= walk6;
  end

  // Saturate, compare, reset.
  logic signed [VB-1:0] state7, state8, amount8;
  logic fired9;
  logic signed [VB-1:0] less8, rest9, reset9;

  if (AB == VB) begin : g_whole
    always_ff @(posedge clk) state7 <= sum6;
  end else begin : g_saturate
    always_ff @(posedge clk)
      if (sum6 > AB'(TOP)) state7 <= TOP;
      else if (sum6 < AB'(LOW)) state7 <= LOW;
      else state7 <= sum6[VB-1:0];
  end

  logic signed [VB:0] difference7;
  assign difference7 = (VB + 1)'(state7) - (VB + 1)'(amount7);

  always_ff @(posedge clk) begin
    spike8 <= AT != 0 ? state7 >= threshold7 : state7 > threshold7;
    state8 <= state7;
    amount8 <= amount7;
    if (difference7 > (VB + 1)'(TOP)) less8 <= TOP;
    else if (difference7 < (VB + 1)'(LOW)) less8 <= LOW;
    else less8 <= difference7[VB-1:0];
    fired9 <= spike8;
    rest9  <= state8;
    reset9 <= RESET == 1 ? amount8 : less8;
  end

  assign state9 = fired9 && RESET != 0 ? reset9 : rest9;

  // Decay toward zero and add the bias: what the next step begins with.
  logic signed [VB-1:0] state9n, initial8, initial9;
  logic signed [BB-1:0] bias8, bias9, bias10;
  logic [VB-1:0] size9;
  logic negative10;
  logic [VB-1:0] size10;
  logic signed [AB-1:0] next11;

  assign state9n = clear9 ? initial9 : state9;
  assign size9 = state9n[VB-1] ? VB'(-state9n) : state9n;

  if (SHIFT != 0) begin : g_shift
    always_ff @(posedge clk) size10 <= DECAY == 0 ? size9 : size9 - (size9 >> DECAY);
  end else begin : g_multiply
    always_ff @(posedge clk) size10 <= VB'(((VB + 13)'(size9) * (VB + 13)'(4096 - DECAY)) >> 12);
  end

  logic signed [AB:0] wide10;
  assign wide10 = (AB + 1)'(size10);
  always_ff @(posedge clk) begin
    {initial9, initial8} <= {initial8, initial7};
    {bias10, bias9, bias8} <= {bias9, bias8, bias7};
    negative10 <= state9n[VB-1];
    next11 <= AB'(negative10 ? -wide10 : wide10) + AB'(bias10);
  end

  always_ff @(posedge clk)
    if (fire11) membranes[group11] <= next11;
    else if (walk7) membranes[address7] <= sum7;

`ifndef SYNTHESIS
  logic signed [AB:0] exact6;
  assign exact6 = (AB + 1)'(sum6) + (AB + 1)'(weight6);
  always_ff @(posedge clk) begin
    assert (!(fire11 && walk7)) else $error("two writes to one bank in one cycle");
    assert (!walk6 || exact6[AB] == exact6[AB-1]) else $error("a sum overflows");
    assert (!(walk5 && walk6 && address5 == address6)) else $error("a sum is read before it is written");
    assert (!(walk5 && walk7 && address5 == address7)) else $error("a sum is read before it is written");
  end
`endif
endmodule

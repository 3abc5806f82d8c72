// Fills the memories of all cores with the bytes of image.bin (docs/fpga-layout.md), one a cycle, and checks them.
// A good image raises `loaded` two cycles after its last byte; anything else raises a fault and stops until `start`:
// 1 no image, 2 another version, 3 header or table damaged, 4 of another geometry, 5 a segment damaged, 6 padding not 0.
module snn_loader #(
    parameter int SEGMENTS = 4,
    parameter logic [SEGMENTS*32-1:0] BYTES = '0,  // bytes of each segment, the first lowest
    parameter logic [SEGMENTS*16-1:0] SIZES = '0,  // bytes of its words
    parameter logic [SEGMENTS-1:0] STORED = '0,    // it fills a memory; the content of all others is the geometry's
    parameter logic [31:0] MARK = '0,              // CRC32 of header and table, everything that is free in them 0
    parameter int COUNT_BITS = 32,                 // of the bytes of a segment, or of header and table
    parameter int WIDTH = 32,                      // of the widest word that is stored, whole bytes, at least 32
    parameter int AW = 1                           // of the number of a word
) (
    input  logic                clk,
    input  logic                start,
    input  logic                valid,
    input  logic [7:0]          data,
    output logic                loaded,
    output logic [2:0]          fault,
    output logic [SEGMENTS-1:0] writes,
    output logic [AW-1:0]       address,
    output logic [WIDTH-1:0]    word
);
  localparam int SW = $clog2(SEGMENTS + 2);
  localparam int IW = $clog2(SEGMENTS);
  localparam logic [79:0] BEGINNING = {16'd1, "GMIEKIPS"};  // the magic and the major version, first byte lowest

  function automatic logic [31:0] crc_of(input logic [31:0] crc, input logic [7:0] more);
    crc_of = crc ^ 32'(more);
    for (int k = 0; k < 8; k++) crc_of = {1'b0, crc_of[31:1]} ^ (crc_of[0] ? 32'hEDB88320 : 32'd0);
  endfunction

  // Where we are: section 0 is header and table, k is segment k - 1; each ends at a multiple of 64 bytes.
  logic [SW-1:0] section;
  logic [IW-1:0] segment;
  logic [COUNT_BITS-1:0] left;  // bytes of the section before its padding
  logic [5:0] at;
  logic take, body, closing, check;

  assign segment = IW'(section - 1'b1);
  assign take = valid && fault == '0 && section <= SW'(SEGMENTS);
  assign body = left != '0;
  assign closing = take && at == '1 && left <= COUNT_BITS'(1);

  always_ff @(posedge clk)
    if (start) begin
      section <= '0;
      left <= COUNT_BITS'(64 + 48 * SEGMENTS);
      at <= '0;
      check <= 1'b0;
    end else begin
      check <= closing;
      if (take) at <= at + 1'b1;
      if (closing) begin
        section <= section + 1'b1;
        left <= section == SW'(SEGMENTS) ? '0 : COUNT_BITS'(BYTES[section*32+:32]);
      end else if (take && body) left <= left - 1'b1;
    end

  // Header and table: row 0 is the header, row k the record of segment k - 1.
  logic [SW-1:0] row;
  logic [IW-1:0] record;
  logic [5:0] spot;
  logic head, own_crc, free, keep_own, keep_record;

  assign record = IW'(row - 1'b1);
  assign head = section == '0 && body;
  assign own_crc = row == '0 && spot >= 6'd60;
  assign free = row == '0 ? own_crc || spot == 6'd10 || spot == 6'd11 : STORED[record] && spot[5:2] == 4'd3;

  always_ff @(posedge clk)
    if (start) begin
      row <= '0;
      spot <= '0;
      keep_own <= 1'b0;
      keep_record <= 1'b0;
    end else begin
      keep_own <= take && head && row == '0 && spot == 6'd63;
      keep_record <= take && head && row != '0 && spot == 6'd15;
      if (take && head) begin
        spot <= row != '0 && spot == 6'd47 ? '0 : spot + 1'b1;
        if (spot == (row == '0 ? 6'd63 : 6'd47)) row <= row + 1'b1;
      end
    end

  // The CRC of each section, and what it must be.
  logic [31:0] crcs [SEGMENTS];
  logic [31:0] crc, mark, wanted;
  logic differs;

  assign differs = check && wanted != ~crc;

  always_ff @(posedge clk) begin
    if (start) crc <= '1;
    else if (take && body) crc <= crc_of(check ? '1 : crc, head && own_crc ? 8'd0 : data);
    else if (check) crc <= '1;
    if (start) mark <= '1;
    else if (take && head) mark <= crc_of(mark, free ? 8'd0 : data);
    if (keep_record) crcs[record] <= word[WIDTH-1-:32];
    if (keep_own) wanted <= word[WIDTH-1-:32];
    else if (section != '0 && !check) wanted <= crcs[segment];
  end

  always_ff @(posedge clk)
    if (start) begin
      fault <= '0;
      loaded <= 1'b0;
    end else if (fault == '0) begin
      if (take && head && row == '0 && spot < 6'd10 && data != BEGINNING[spot*8+:8]) fault <= spot < 6'd8 ? 3'd1 : 3'd2;
      else if (differs) fault <= section == SW'(1) ? 3'd3 : 3'd5;
      else if (check && section == SW'(1) && mark != ~MARK) fault <= 3'd4;
      else if (take && !body && data != '0) fault <= 3'd6;
      else if (check && section == SW'(SEGMENTS + 1)) loaded <= 1'b1;
    end

  // Words, the least significant byte first.
  logic [15:0] part, last;
  logic whole;
  logic [AW-1:0] number;

  assign whole = take && body && section != '0 && part == last;

  always_ff @(posedge clk) begin
    if (take) word <= {data, word[WIDTH-1:8]};
    address <= number;
    writes <= '0;
    if (whole && !start) writes[segment] <= STORED[segment];
    if (start || closing) begin
      part <= '0;
      number <= '0;
      last <= start || section == SW'(SEGMENTS) ? '0 : SIZES[section*16+:16] - 1'b1;
    end else if (take && body && section != '0) begin
      part <= whole ? '0 : part + 1'b1;
      number <= number + AW'(whole);
    end
  end
endmodule

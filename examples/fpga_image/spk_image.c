/* Reads image.bin; see spk_image.h and docs/fpga-layout.md. */
#include "spk_image.h"

#define HEADER 64u
#define RECORD 48u
#define ALIGN 64u
#define GEOMETRY_WORDS 21u
#define LARGEST_WORD 65536u

static uint32_t u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }

static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }

static uint64_t u64(const uint8_t *p) { return (uint64_t)u32(p) | (uint64_t)u32(p + 4) << 32; }

static uint64_t aligned(uint64_t size) { return (size + ALIGN - 1) / ALIGN * ALIGN; }

static int is_zero(const uint8_t *p, uint64_t count) {
  while (count--)
    if (*p++) return 0;
  return 1;
}

uint32_t spk_crc32(uint32_t crc, const uint8_t *data, size_t size) {
  crc = ~crc;
  while (size--) {
    crc ^= *data++;
    for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}

const char *spk_words(enum spk_error error) {
  switch (error) {
    case SPK_OK: return "fine";
    case SPK_NOT_AN_IMAGE: return "not an image";
    case SPK_VERSION: return "an image of another version";
    case SPK_TRUNCATED: return "the image is cut off";
    case SPK_SIZE: return "sizes do not fit";
    case SPK_CRC: return "a CRC32 differs: the image was changed";
    case SPK_PADDING: return "padding is not 0";
    case SPK_KIND: return "a segment of an unknown kind";
    case SPK_MISSING: return "no such core, or one of its segments is missing";
    case SPK_GEOMETRY: return "a core's segments do not fit its geometry";
  }
  return "unknown error";
}

static enum spk_error check_header(const uint8_t *data, size_t size) {
  static const char magic[] = "SPIKEIMG";
  static const uint8_t none[4] = {0, 0, 0, 0};
  uint32_t crc;
  for (size_t k = 0; k < 8; k++)
    if (k >= size || data[k] != (uint8_t)magic[k]) return SPK_NOT_AN_IMAGE;
  if (size < HEADER) return SPK_TRUNCATED;
  if (u16(data + 8) != 1) return SPK_VERSION;
  if (u64(data + 24) > size) return SPK_TRUNCATED;
  if (u32(data + 12) != HEADER || u32(data + 20) != RECORD) return SPK_CRC;
  if (u32(data + 16) > (size - HEADER) / RECORD) return SPK_CRC;
  crc = spk_crc32(0, data, 60);
  crc = spk_crc32(crc, none, 4);
  crc = spk_crc32(crc, data + HEADER, (size_t)u32(data + 16) * RECORD);
  if (crc != u32(data + 60)) return SPK_CRC;
  return u64(data + 24) == size ? SPK_OK : SPK_SIZE;
}

static int is_known(uint32_t kind) { return kind <= SPK_NEURON_MAP || (kind >= SPK_CODEBOOK && kind <= SPK_SIGNS); }

static enum spk_error check_segment(const uint8_t *data, size_t size, const uint8_t *record, uint64_t end) {
  const uint32_t width = u32(record + 4), words = u32(record + 8);
  const uint64_t offset = u64(record + 16), bytes = u64(record + 24);
  uint32_t each;
  if (offset != aligned(end) || offset > size || bytes > size - offset) return SPK_SIZE;
  if (!is_known(u16(record + 2))) return SPK_KIND;
  if (width == 0 || width > LARGEST_WORD) return SPK_SIZE;
  each = (width + 7) / 8;
  if ((uint64_t)each * words != bytes) return SPK_SIZE;
  if (spk_crc32(0, data + offset, (size_t)bytes) != u32(record + 12)) return SPK_CRC;
  if (!is_zero(data + end, offset - end)) return SPK_PADDING;
  if (width % 8)
    for (uint32_t k = 1; k <= words; k++)
      if (data[offset + (uint64_t)k * each - 1] >> width % 8) return SPK_PADDING;
  return SPK_OK;
}

enum spk_error spk_open(const uint8_t *data, size_t size, struct spk_image *image) {
  uint64_t end;
  enum spk_error error = check_header(data, size);
  if (error != SPK_OK) return error;
  image->data = data;
  image->size = size;
  image->count = u32(data + 16);
  end = HEADER + (uint64_t)RECORD * image->count;
  for (uint32_t k = 0; k < image->count; k++) {
    const uint8_t *record = data + HEADER + (size_t)RECORD * k;
    error = check_segment(data, size, record, end);
    if (error != SPK_OK) return error;
    end = aligned(end) + u64(record + 24);
  }
  if (aligned(end) != size) return SPK_SIZE;
  return is_zero(data + end, size - end) ? SPK_OK : SPK_PADDING;
}

struct spk_segment spk_segment_at(const struct spk_image *image, uint32_t index) {
  const uint8_t *record = image->data + HEADER + (size_t)RECORD * index;
  struct spk_segment segment;
  segment.core = (uint16_t)u16(record);
  segment.kind = (uint16_t)u16(record + 2);
  segment.width = u32(record + 4);
  segment.words = u32(record + 8);
  segment.data = image->data + u64(record + 16);
  return segment;
}

uint32_t spk_bits(const struct spk_segment *segment, uint32_t word, uint32_t at, uint32_t bits) {
  const uint8_t *start = segment->data + (size_t)word * ((segment->width + 7) / 8);
  uint32_t value = 0;
  for (uint32_t k = 0; k < bits; k++) value |= (uint32_t)(start[(at + k) / 8] >> (at + k) % 8 & 1) << k;
  return value;
}

static int32_t sign(uint32_t value, uint32_t bits) {
  const uint32_t half = (uint32_t)1 << (bits - 1);
  return value < half ? (int32_t)value : (int32_t)(value - half) - (int32_t)(half - 1) - 1;
}

static enum spk_error find(const struct spk_image *image, uint16_t core, uint16_t kind, struct spk_segment *out) {
  for (uint32_t k = 0; k < image->count; k++) {
    *out = spk_segment_at(image, k);
    if (out->core == core && out->kind == kind) return SPK_OK;
  }
  return SPK_MISSING;
}

static enum spk_error read_geometry(const struct spk_segment *words, struct spk_core *out) {
  uint32_t *const fields[GEOMETRY_WORDS - 1] = {
      &out->layer,     &out->inputs,         &out->depth,      &out->rows,         &out->in_lanes,
      &out->neurons,   &out->lanes,          &out->kept,       &out->block,        &out->offset,
      &out->weight_bits, &out->state_bits,   &out->bias_bits,  &out->sum_bits,     &out->decay_constant,
      &out->bank_words, &out->decay_shift,   &out->at_threshold, &out->reset,      &out->reads_membrane};
  if (words->width != 32 || words->words != GEOMETRY_WORDS || spk_bits(words, 0, 0, 32) != 1) return SPK_GEOMETRY;
  for (uint32_t k = 0; k + 1 < GEOMETRY_WORDS; k++) *fields[k] = spk_bits(words, k + 1, 0, 32);
  if (out->lanes == 0 || out->kept == 0 || out->block == 0 || out->block > 32 || out->neurons == 0) return SPK_GEOMETRY;
  if (out->lanes > 4096 || out->neurons > 1u << 24 || out->rows == 0 || out->rows > 1u << 24) return SPK_GEOMETRY;
  if (out->weight_bits < 2 || out->weight_bits > 16 || out->state_bits < 2 || out->state_bits > 24) return SPK_GEOMETRY;
  return out->bias_bits < 1 || out->bias_bits > 32 ? SPK_GEOMETRY : SPK_OK;
}

enum spk_error spk_core_at(const struct spk_image *image, uint16_t core, struct spk_core *out) {
  struct spk_segment geometry;
  enum spk_error error = find(image, core, SPK_GEOMETRY_SEGMENT, &geometry);
  if (error == SPK_OK) error = read_geometry(&geometry, out);
  if (error == SPK_OK) error = find(image, core, SPK_WEIGHTS, &out->weights);
  if (error == SPK_OK) error = find(image, core, SPK_NEURONS, &out->neurons_memory);
  if (error == SPK_OK) error = find(image, core, SPK_NEURON_MAP, &out->map);
  if (error != SPK_OK) return error;
  out->blocks = (out->neurons + out->lanes * out->block - 1) / (out->lanes * out->block);
  out->row_words = out->blocks * out->kept;
  out->index_bits = 0;
  while ((uint32_t)1 << out->index_bits < out->block) out->index_bits++;
  if (out->weights.width != out->lanes * (out->weight_bits + out->index_bits) ||
      out->weights.words != (uint64_t)out->rows * out->row_words || out->map.width != 32 ||
      out->map.words != out->neurons || out->neurons_memory.words != out->blocks * out->block ||
      out->neurons_memory.width != out->lanes * (3 * out->state_bits + out->bias_bits))
    return SPK_GEOMETRY;
  for (uint32_t k = 0; k < out->neurons; k++)
    if (spk_bits(&out->map, k, 0, 32) != spk_physical(out, k)) return SPK_GEOMETRY;
  return SPK_OK;
}

uint32_t spk_physical(const struct spk_core *core, uint32_t neuron) {
  const uint32_t lane = neuron / core->block % core->lanes;
  const uint32_t block = neuron / (core->block * core->lanes);
  return (block * core->block + neuron % core->block) * core->lanes + lane;
}

int32_t spk_weight(const struct spk_core *core, uint32_t row, uint32_t neuron) {
  const uint32_t lane = neuron / core->block % core->lanes;
  const uint32_t block = neuron / (core->block * core->lanes);
  const uint32_t entry_bits = core->weight_bits + core->index_bits;
  for (uint32_t n = 0; n < core->kept; n++) {
    const uint32_t word = row * core->row_words + block * core->kept + n;
    const uint32_t entry = spk_bits(&core->weights, word, lane * entry_bits, entry_bits);
    if (entry >> core->weight_bits == neuron % core->block)
      return sign(entry & (((uint32_t)1 << core->weight_bits) - 1), core->weight_bits);
  }
  return 0;
}

int32_t spk_neuron(const struct spk_core *core, uint32_t neuron, enum spk_field field) {
  const uint32_t widths[4] = {core->state_bits, core->bias_bits, core->state_bits, core->state_bits};
  const uint32_t each = 3 * core->state_bits + core->bias_bits;
  const uint32_t physical = spk_physical(core, neuron);
  uint32_t at = physical % core->lanes * each;
  for (uint32_t k = 0; k < (uint32_t)field; k++) at += widths[k];
  return sign(spk_bits(&core->neurons_memory, physical / core->lanes, at, widths[field]), widths[field]);
}

/* Reads image.bin, the memories that spikec writes for its spike cores (docs/fpga-layout.md).
 *
 * C99, no allocation, no dependency beyond <stdint.h> and <stddef.h>: fit for the microcontroller that loads an FPGA.
 * The image stays where it is (flash, a file in memory) and every value is read from its bytes on demand.
 */
#ifndef SPK_IMAGE_H
#define SPK_IMAGE_H

#include <stddef.h>
#include <stdint.h>

enum spk_error {
  SPK_OK = 0,
  SPK_NOT_AN_IMAGE,
  SPK_VERSION,
  SPK_TRUNCATED,
  SPK_SIZE,
  SPK_CRC,
  SPK_PADDING,
  SPK_KIND,
  SPK_MISSING,
  SPK_GEOMETRY
};

enum spk_kind {
  SPK_GEOMETRY_SEGMENT = 0,
  SPK_WEIGHTS = 1,
  SPK_NEURONS = 2,
  SPK_NEURON_MAP = 3,
  SPK_CODEBOOK = 16,
  SPK_INDICES = 17,
  SPK_SIGNS = 18
};

enum spk_field { SPK_THRESHOLD = 0, SPK_BIAS = 1, SPK_AMOUNT = 2, SPK_INITIAL = 3 };

/* A checked image: `count` segments. */
struct spk_image {
  const uint8_t *data;
  size_t size;
  uint32_t count;
};

/* The words of one memory: `words` words of `width` bits, each padded to whole bytes, least significant byte first. */
struct spk_segment {
  const uint8_t *data;
  uint32_t width;
  uint32_t words;
  uint16_t core;
  uint16_t kind;
};

/* One event core; names as in docs/fpga-layout.md. */
struct spk_core {
  uint32_t layer, inputs, depth;
  uint32_t rows, in_lanes, neurons, lanes, kept, block, offset;
  uint32_t weight_bits, state_bits, bias_bits, sum_bits, decay_constant, bank_words;
  uint32_t decay_shift;    /* 1: decay by a shift, 0: by a 12-bit multiplication */
  uint32_t at_threshold;   /* 1: fires at v >= threshold, 0: above it */
  uint32_t reset;          /* 0 to a value, 1 by subtraction, 2 none */
  uint32_t reads_membrane; /* 1: the output is the membrane */
  uint32_t blocks, row_words, index_bits; /* derived */
  struct spk_segment weights, neurons_memory, map;
};

/* Check an image of `size` bytes: header, table, every segment's CRC, every byte of padding. */
enum spk_error spk_open(const uint8_t *data, size_t size, struct spk_image *image);

/* Say in words what an error is. */
const char *spk_words(enum spk_error error);

/* Give segment `index` of a checked image. */
struct spk_segment spk_segment_at(const struct spk_image *image, uint32_t index);

/* Find a core's segments and check that they fit its geometry. SPK_MISSING if there is no such core. */
enum spk_error spk_core_at(const struct spk_image *image, uint16_t core, struct spk_core *out);

/* Give `bits` bits (at most 32) from bit `at` of a word. */
uint32_t spk_bits(const struct spk_segment *segment, uint32_t word, uint32_t at, uint32_t bits);

/* Give the weight from an input row to a neuron of the core (its number within the core); 0 where there is none. */
int32_t spk_weight(const struct spk_core *core, uint32_t row, uint32_t neuron);

/* Give threshold, bias, amount or initial membrane of a neuron of the core. */
int32_t spk_neuron(const struct spk_core *core, uint32_t neuron, enum spk_field field);

/* Give the physical number of a neuron of the core: group * lanes + lane, as in the tokens. */
uint32_t spk_physical(const struct spk_core *core, uint32_t neuron);

/* CRC32 as in zlib: polynomial 0xEDB88320, reflected. Give 0 to begin, the last result to go on. */
uint32_t spk_crc32(uint32_t crc, const uint8_t *data, size_t size);

#endif

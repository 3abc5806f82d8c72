/* Prints what an image holds: `dump IMAGE` the cores, `dump IMAGE values` every neuron and every weight as well.
 *
 *   cc -std=c99 -O2 -o dump dump.c spk_image.c && ./dump build/fpga/image.bin
 */
#include <stdio.h>
#include <stdlib.h>

#include "spk_image.h"

static uint8_t *load(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  uint8_t *data = NULL;
  long length = -1;
  if (file == NULL) return NULL;
  if (fseek(file, 0, SEEK_END) == 0) length = ftell(file);
  if (length >= 0 && fseek(file, 0, SEEK_SET) == 0) data = malloc((size_t)length + 1);
  if (data != NULL && fread(data, 1, (size_t)length, file) != (size_t)length) {
    free(data);
    data = NULL;
  }
  fclose(file);
  *size = (size_t)length;
  return data;
}

static void print_values(const struct spk_core *core) {
  for (uint32_t n = 0; n < core->neurons; n++) {
    printf("neuron %u: physical %u threshold %d bias %d amount %d initial %d\nweights", n, spk_physical(core, n),
           spk_neuron(core, n, SPK_THRESHOLD), spk_neuron(core, n, SPK_BIAS), spk_neuron(core, n, SPK_AMOUNT),
           spk_neuron(core, n, SPK_INITIAL));
    for (uint32_t row = 0; row < core->rows; row++) printf(" %d", spk_weight(core, row, n));
    printf("\n");
  }
}

int main(int count, char **words) {
  struct spk_image image;
  struct spk_core core;
  size_t size = 0;
  enum spk_error error;
  uint8_t *data = count > 1 ? load(words[1], &size) : NULL;
  if (data == NULL) {
    fprintf(stderr, "usage: dump IMAGE [values]\n");
    return 2;
  }
  error = spk_open(data, size, &image);
  for (uint16_t k = 0; error == SPK_OK; k++) {
    error = spk_core_at(&image, k, &core);
    if (error == SPK_MISSING && k > 0) break;
    if (error != SPK_OK) continue;
    printf("core %u: layer %u rows %u neurons %u lanes %u structure %u:%u weights %u bits states %u bits offset %u\n", k,
           core.layer, core.rows, core.neurons, core.lanes, core.kept, core.block, core.weight_bits, core.state_bits,
           core.offset);
    if (count > 2) print_values(&core);
  }
  if (error != SPK_OK && error != SPK_MISSING) fprintf(stderr, "%s: %s\n", words[1], spk_words(error));
  free(data);
  return error != SPK_OK && error != SPK_MISSING;
}

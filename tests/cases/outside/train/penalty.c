/* The same as penalty.py, as a library. */
#include <stdlib.h>
#include <string.h>

#include "rewards/plugin.h"

uint32_t vernier_plugin_abi(void) { return VERNIER_PLUGIN_ABI; }

void* vernier_plugin_create(const char* config_json, char* error, size_t error_bytes) {
  (void)config_json, (void)error, (void)error_bytes;
  return malloc(1);
}

/* The digit of "answer":"7" in the row; 0 where there is none. */
static char answer_of(const char* row) {
  const char* key = "\"answer\":\"";
  const char* at = strstr(row, key);
  return at == NULL ? 0 : at[strlen(key)];
}

/* "...#7." with one "#" and nothing behind. */
static int is_right(const VernierResponse* response, char answer) {
  const char* hash = strchr(response->text, '#');
  return hash != NULL && hash[1] == answer && answer != 0 && hash[2] == '.' && hash[3] == 0;
}

int64_t vernier_plugin_score(void* self, const VernierGroup* group, VernierScore* scores) {
  (void)self;
  const char answer = answer_of(group->row);
  for (size_t i = 0; i < group->num_responses; ++i) {
    const VernierResponse* response = &group->responses[i];
    const double correct = is_right(response, answer) ? 1 : 0;
    scores[i].value = correct - 1.0 * response->num_tokens / 100;
  }
  return (int64_t)group->num_responses;
}

void vernier_plugin_destroy(void* self) { free(self); }

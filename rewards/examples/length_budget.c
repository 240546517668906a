/* Pays a response for what it leaves of a budget of tokens.
 *
 *   cc -shared -fPIC -O2 -I. -o length_budget.so rewards/examples/length_budget.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rewards/plugin.h"

typedef struct {
  double budget;
} LengthBudget;

uint32_t vernier_plugin_abi(void) { return VERNIER_PLUGIN_ABI; }

void* vernier_plugin_create(const char* config_json, char* error, size_t error_bytes) {
  /* A library of your choice reads larger configurations. */
  const char* key = strstr(config_json, "\"budget\":");
  const double budget = key == NULL ? 1024 : atof(key + strlen("\"budget\":"));
  if (budget <= 0) {
    snprintf(error, error_bytes, "budget = %g is not above 0", budget);
    return NULL;
  }
  LengthBudget* self = malloc(sizeof *self);
  self->budget = budget;
  return self;
}

int64_t vernier_plugin_score(void* self, const VernierGroup* group, VernierScore* scores) {
  const double budget = ((LengthBudget*)self)->budget;
  for (size_t i = 0; i < group->num_responses; ++i) {
    const VernierResponse* response = &group->responses[i];
    if (strcmp(response->finish_reason, "stop") != 0) {
      snprintf(scores[i].abstain, sizeof scores[i].abstain, "it did not end by itself");
      continue;
    }
    const double left = 1 - response->num_tokens / budget;
    scores[i].value = left > 0 ? left : 0;
  }
  return (int64_t)group->num_responses;
}

void vernier_plugin_destroy(void* self) { free(self); }

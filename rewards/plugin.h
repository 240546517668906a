/* A reward as a shared library, in C or whatever speaks C. This header is all it needs:
 *
 *   cc -shared -fPIC -O2 -I VERNIER -o my_reward.so my_reward.c
 *
 *   [[reward]]
 *   type = "library"
 *   path = "my_reward.so"
 *   config = { budget = 100 }
 *
 * By default the library runs in a process of its own, so that a crash or a loop costs responses
 * their reward and nothing else. It is trusted all the same: that process may do what the user may.
 *
 * The library exports the four functions at the end. They are called from one thread, one after the
 * other. Texts are UTF-8, end with a NUL byte, and belong to the caller: they are gone after the
 * call.
 */
#ifndef VERNIER_PLUGIN_H
#define VERNIER_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

/* Changes with every change to this file that an old library would not survive. */
#define VERNIER_PLUGIN_ABI 1

#define VERNIER_PLUGIN_TEXT 240
#define VERNIER_PLUGIN_NAME 48
#define VERNIER_PLUGIN_COMPONENTS 16

#define VERNIER_PLUGIN_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* Token ids [begin, end) of a response; begin is -1 where there are none. */
typedef struct VernierSpan {
  int32_t begin, end;
} VernierSpan;

typedef struct VernierResponse {
  int64_t sample;   /* place in its group */
  const char* text; /* may hold NUL bytes of its own: text_bytes counts */
  size_t text_bytes;
  const int32_t* ids; /* token ids, end token included */
  size_t num_ids;
  int32_t num_tokens;        /* that count for length */
  const char* finish_reason; /* "stop", "length"; "deadline" and "aborted" are not the policy's */
  VernierSpan think, answer;
} VernierResponse;

/* The responses to one prompt: all of them where the reward has needs_group = true, else one. */
typedef struct VernierGroup {
  const char* id;     /* of the question, for messages */
  const char* prompt; /* as the model was shown it */
  size_t prompt_bytes;
  const char* row; /* the row of the data as a JSON object; "answer" is the ground truth */
  size_t row_bytes;
  const VernierResponse* responses;
  size_t num_responses;
} VernierGroup;

typedef struct VernierComponent {
  char name[VERNIER_PLUGIN_NAME];
  double value;
} VernierComponent;

/* Comes with value NaN and all else 0. */
typedef struct VernierScore {
  double value;
  /* Why there is no value: then `value` is not read, and the response has no reward. It never
   * becomes 0. Empty: there is one. */
  char abstain[VERNIER_PLUGIN_TEXT];
  /* Named numbers beside it, for the metrics. */
  VernierComponent components[VERNIER_PLUGIN_COMPONENTS];
  size_t num_components;
} VernierScore;

/* Returns VERNIER_PLUGIN_ABI as it was when the library was compiled. */
VERNIER_PLUGIN_EXPORT uint32_t vernier_plugin_abi(void);

/* `config_json` is the table `config` of the configuration as a JSON object. Returns what the other
 * two are given, or NULL where the configuration is refused, with the reason in `error`. */
VERNIER_PLUGIN_EXPORT void* vernier_plugin_create(const char* config_json, char* error,
                                                  size_t error_bytes);

/* Fills scores[0 .. num_responses), in the order of the responses. Returns how many it has filled;
 * less than 0: it failed, and so did the whole group. */
VERNIER_PLUGIN_EXPORT int64_t vernier_plugin_score(void* self, const VernierGroup* group,
                                                   VernierScore* scores);

VERNIER_PLUGIN_EXPORT void vernier_plugin_destroy(void* self);

#ifdef __cplusplus
}
#endif

#endif /* VERNIER_PLUGIN_H */

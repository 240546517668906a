#include "core/metrics/metric_names.h"

namespace vernier {

const std::map<std::string, std::string>& verl_names() {
  static const std::map<std::string, std::string> names = {
      {"completions/mean_length", "response_length/mean"},
      {"completions/max_length", "response_length/max"},
      {"completions/min_length", "response_length/min"},
      {"completions/clipped_ratio", "response_length/clip_ratio"},
      {"reward", "critic/score/mean"},
      {"grad_norm", "actor/grad_norm"},
      {"learning_rate", "actor/lr"},
      {"entropy", "actor/entropy"},
      {"kl", "actor/kl_loss"},
      {"time/rollout", "timing_s/gen"},
      {"time/score", "timing_s/reward"},
      {"time/credit", "timing_s/adv"},
      {"time/update", "timing_s/update_actor"},
      {"time/step", "timing_s/step"}};
  return names;
}

}  // namespace vernier

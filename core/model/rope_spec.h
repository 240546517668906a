// RoPE as models ask for it: the kinds of config.json.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/weights/json_field.h"

namespace vernier {

/// The keys of rope_scaling (or rope_parameters), with the names that config.json gives them.
/// `kind` is one of rope_kinds(); the fields it does not read keep their defaults.
struct RopeSpec {
  std::string kind = "default";
  double theta = 10000;
  double factor = 1;
  int64_t original_max_position_embeddings = 0;      // what llama3, yarn and longrope start from
  double attention_factor = 0;                       // 0: derived from `factor`
  double beta_fast = 32, beta_slow = 1;              // yarn
  double mscale = 0, mscale_all_dim = 0;             // yarn; 0: not given
  bool truncate = true;                              // yarn
  double low_freq_factor = 0, high_freq_factor = 0;  // llama3
  std::vector<double> short_factor, long_factor;     // longrope, [R/2]
};

/// "default", "linear", "dynamic", "yarn", "llama3", "longrope".
const std::vector<std::string>& rope_kinds();

/// Raises a UsageError about a field, by its key in config.json.
using RefuseRope = std::function<void(const char* key, const std::string& what)>;

/// Calls `refuse` on the first value that the formulas of the kind cannot take, whichever file it
/// came from.
void check_rope(const RopeSpec& rope, const RefuseRope& refuse);

/// Reads the old keys (rope_theta, rope_scaling with `type`) and the new ones (rope_parameters with
/// `rope_type`) of config.json. A kind or a key of theirs that is not known, or a value that makes
/// no sense, is a UsageError that names it.
RopeSpec read_rope(const JsonField& config, double default_theta, int64_t max_position_embeddings);

/// Writes the old keys, which every version of `transformers` and vLLM reads.
void write_rope(const RopeSpec& rope, Json& config);

/// The longest sequence that the kind was made for. Whether max_position_embeddings counts a linear
/// or yarn stretch already differs from file to file, so this is the larger reading. For dynamic it
/// does not go beyond max_position_embeddings: past them its frequencies change as a sequence
/// grows, and cached keys would keep the old ones.
int64_t longest_sequence(const RopeSpec& rope, int64_t max_position_embeddings);

}  // namespace vernier

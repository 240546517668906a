#include "tools/peer_config.h"

#include <algorithm>

#include "core/base/errors.h"
#include "tools/peer_converter.h"

namespace vernier {
namespace {

bool is_verl(const PeerTree& tree) {
  return std::ranges::any_of(tree.keys(), [](const std::string& key) {
    return key.starts_with("actor_rollout_ref.") || key.starts_with("algorithm.") ||
           key.starts_with("trainer.");
  });
}

bool is_trl(const PeerTree& tree) {
  return std::ranges::any_of(tree.keys(), [](const std::string& key) {
    return key == "model_name_or_path" || key == "per_device_train_batch_size" ||
           key == "loss_type" || key == "output_dir" || key == "num_generations";
  });
}

}  // namespace

PeerConfig convert_peer_config(const std::string& text, const std::string& name,
                               const std::vector<std::string>& overrides,
                               const PeerConfigOptions& options) {
  PeerTree tree(text, name);
  for (const std::string& one : overrides) {
    const size_t mark = one.find('=');
    if (mark == std::string::npos) fail("'", in_short(one), "' is not key=value");
    const size_t begin = one.find_first_not_of('+');  // Hydra's "+a.b=c" adds a key
    const std::string key = one.substr(begin, mark - begin);
    if (key.find_first_not_of(" \t") == std::string::npos)
      fail("'", in_short(one), "' has no key before its '='; key=value is wanted");
    tree.set(key, one.substr(mark + 1));
  }
  std::string from = options.from;
  if (from == "auto") from = is_verl(tree) ? "verl" : is_trl(tree) ? "trl" : "";
  if (from.empty())
    fail(name,
         ": has neither keys of TRL (output_dir, num_generations, loss_type, ...) nor of verl "
         "(actor_rollout_ref, algorithm, trainer); say which with --from");
  return from == "verl" ? convert_verl(tree, options) : convert_trl(tree, options);
}

}  // namespace vernier

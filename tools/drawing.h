// What generate and eval share: a model, prompts, and how responses are drawn.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/metrics/selection.h"
#include "core/model/model.h"
#include "rollout/engine.h"
#include "tools/commands.h"
#include "tools/eval_store.h"
#include "tools/output.h"

namespace vernier {

struct Drawing {
  std::shared_ptr<Model> model;
  std::vector<Prompt> prompts;
  RolloutConfig config;
};

/// By the options of the command line, with this model where it is loaded already. Throws
/// UsageError where they contradict each other.
Drawing prepare(const DrawOptions& options, std::shared_ptr<Model> model = nullptr);

/// Draws the responses and keeps them where the command line wants them: a file keeps what is done
/// when the command is left (eval_store.h), a pipe gets the groups in order of their prompts.
class DrawnGroups {
 public:
  /// Takes the prompts of `drawing`, which lives as long. `keep`: each() is going to be called;
  /// without a file they are kept in memory for it.
  DrawnGroups(const DrawOptions& options, Drawing& drawing, bool keep);

  /// Gets a group with what judge_group() said of it.
  using Use = std::function<void(const Group&, const std::vector<Candidate>&)>;

  /// Hands over every group: those that are there already first, then the others as they end.
  /// Throws Interrupted on a signal where a file keeps what is done.
  EngineStats draw(Engine& engine, const Use& use);

  /// Hands over all of them again, in no order.
  void each(const std::function<void(Group&&)>& use) const;

  /// Gives the file its rows. Without it OUT stays as it was.
  void finish();

 private:
  EngineStats draw_rest(Engine& engine, std::vector<Prompt> prompts,
                        const std::vector<int64_t>& places, const Use& use);
  void pass_on(const Group& group);

  DrawOptions options_;
  Drawing& drawing_;
  std::string kind_;
  bool keep_;
  std::optional<EvalStore> store_;        // of a file
  std::optional<Output> pipe_;            // or what is none
  std::map<int64_t, std::string> early_;  // rows that wait for those of a prompt before theirs
  int64_t next_ = 0;                      // prompt whose rows go to the pipe next
  std::vector<Group> kept_;
};

}  // namespace vernier

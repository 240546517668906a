// Arithmetic questions in plain English for small instruction-tuned models: sums and differences of
// integers. Right when the last integer of the response is the answer.
#include <vector>

#include "core/base/rng.h"
#include "rollout/tasks/task.h"

namespace vernier {
namespace {

struct Options {
  int64_t terms = 2, max_value = 20;
  bool subtraction = true;
  std::string question = "What is {expression}?";

  void bind(Binder& config) {
    config.number("terms", terms, 2, 6, "numbers of an expression");
    config.number("max_value", max_value, 1, 1000000, "largest number");
    config.flag("subtraction", subtraction, "differences too, or sums only");
    config.text("question", question, "the question; {expression} stands for the sum");
    if (question.find("{expression}") == std::string::npos)
      config.error("question", "does not have {expression} in it");
  }
};

Prompt make_prompt(const Options& options, const PromptPlace& place) {
  Rng rng(place.seed, Stream::task, static_cast<uint64_t>(place.index));
  int64_t value = 1 + rng.next_below(options.max_value);
  std::string expression = cat(value);
  for (int64_t i = 1; i < options.terms; ++i) {
    const int64_t term = 1 + rng.next_below(options.max_value);
    const bool plus = rng.next_below(2) == 0 || !options.subtraction;
    value += plus ? term : -term;
    expression += cat(plus ? " + " : " - ", term);
  }
  Prompt prompt;
  prompt.id = cat("arithmetic-", place.index);
  prompt.index = place.index;
  prompt.text = options.question;
  const size_t mark = prompt.text.find("{expression}");
  prompt.text.replace(mark, std::string_view("{expression}").size(), expression);
  prompt.answer = cat(value);
  prompt.verify = "last_integer";
  prompt.task = "arithmetic";
  prompt.difficulty = static_cast<double>(options.terms);
  return prompt;
}

const TaskRegistry::Entry entry{
    "arithmetic", "sums and differences of integers, asked in English", [](Binder& config) {
      Options options;
      options.bind(config);
      auto task = std::make_unique<Task>();
      task->prompt = [options](const PromptPlace& place) { return make_prompt(options, place); };
      return task;
    }};

}  // namespace
}  // namespace vernier

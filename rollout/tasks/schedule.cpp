// Jobs for several machines: each job in turn goes to the machine that is free first (of equals the
// first). Question "2:5,2,7,1=": two machines; answer 9, when the last one ends.
//
// A state is one job.
//
// TAIL, class greedy.
#include <algorithm>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "schedule",
                          .area = "greedy",
                          .unit = "jobs",
                          .tiers = {{{5, 10}, {11, 20}, {21, 50}}},
                          .request =
                              "The first number counts machines, the others are jobs with "
                              "their times. Each job in turn goes to the machine that is "
                              "free first. When does the last one end? {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  const int64_t machines = 2 + rng.next_below(3);
  std::vector<int64_t> jobs(static_cast<size_t>(length));
  for (int64_t& job : jobs) job = 1 + rng.next_below(20);
  Problem out;
  out.question = cat(machines, ':', list_text(jobs), '=');
  std::vector<int64_t> loads(static_cast<size_t>(machines));
  for (size_t i = 0; i < jobs.size(); ++i) {
    const auto first = std::min_element(loads.begin(), loads.end());
    const std::string before = with_states ? list_text(loads) : "";
    const int64_t start = *first;
    *first += jobs[i];
    if (with_states)
      out.states.push_back(
          {.input = cat(jobs[i]),
           .computation = cat("min(", before, ")=", start, ',', start, '+', jobs[i], '=', *first),
           .output = cat(first - loads.begin() + 1),
           .variables = list_text(loads),
           .remaining = list_text({jobs.begin() + static_cast<int64_t>(i) + 1, jobs.end()})});
  }
  out.answer = cat(*std::max_element(loads.begin(), loads.end()));
  return out;
}

const auto entry = family_entry(kInfo,
                                {"when the last of several machines ends its jobs", "", "jobs",
                                 "TAIL (Turing machine imitation), class greedy"},
                                draw);

}  // namespace
}  // namespace vernier

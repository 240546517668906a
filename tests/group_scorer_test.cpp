// Scoring beside sampling, and how a stop ends it.
#include "trainer/group_scorer.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <future>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/errors.h"

namespace vernier {
namespace {

// A reward that waits for somebody else until `answer` is there.
class Waits final : public Reward {
 public:
  explicit Waits(std::shared_future<void> answer) : answer_(std::move(answer)) {}
  bool needs_group() const override { return false; }
  bool asks_outside() const override { return true; }
  void score(const Group&, std::span<Score> scores) const override {
    answer_.wait();
    for (Score& score : scores) score.value = 1;
  }

 private:
  std::shared_future<void> answer_;
};

std::shared_future<void> answer_of_waits;

const RewardRegistry::Entry waits_entry{
    "test_waits", "for this test", [](Binder&, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<Waits>(answer_of_waits);
    }};

TEST_CASE("a stop ends the wait for a reward, whose group is the last to be scored") {
  std::promise<void> answer;
  answer_of_waits = answer.get_future().share();
  ScoringChain chain;
  ConfigFile::parse("[[reward]]\ntype = \"test_waits\"\n", "t.toml").bind([&](Binder& root) {
    chain.bind(root, ScoringContext{});
  });
  const auto group = [](int64_t id) {
    Group out;
    out.id = id;
    out.responses.resize(1);
    return out;
  };
  std::atomic<bool> stop{false};
  std::atomic<int> done{0};
  std::future<void> later;
  {
    GroupScorer scorer(
        chain, [&](Group&&, GroupScorer::Numbers) { ++done; }, &stop);
    for (int64_t id = 0; id < 3; ++id) scorer.take(group(id));
    stop = true;
    const Clock clock;
    CHECK_THROWS_AS(scorer.finish(), Interrupted);
    CHECK(clock.seconds() < 10);
    CHECK(done == 0);
    // Its end waits for the thread.
    later = std::async(std::launch::async, [&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      answer.set_value();
    });
  }
  CHECK(done <= 1);  // none where the thread had not begun
  stop = false;
  GroupScorer scorer(
      chain, [&](Group&&, GroupScorer::Numbers) { ++done; }, &stop);
  const int before = done;
  for (int64_t id = 0; id < 3; ++id) scorer.take(group(id));
  scorer.finish();
  CHECK(done == before + 3);
}

}  // namespace
}  // namespace vernier

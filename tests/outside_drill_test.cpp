// The drill: everything that a reward from outside can do wrong, at once, in one chain.
#include <doctest/doctest.h>

#include "tests/outside_cases.h"
#include "tests/reward_server.h"
#include "tests/socket_client.h"

namespace vernier {
namespace {

using testing::begins;
using testing::comes_true;
using testing::outside_chain;
using testing::outside_group;
using testing::python_command;

// Of those that let it pass; the others answer or end before theirs, however busy the machine.
constexpr double kDeadlineS = 3, kLongDeadlineS = 60;
// Above it: one second for saying so, the rest for a machine that starts a dozen programs at once.
constexpr double kGraceS = 12;

bool waits(const std::string& name) {
  return name == "sleep" || name == "late" || name == "url-slow" || name == "library-loop";
}

std::string entry(const std::string& name, const std::string& type, const std::string& keys) {
  return cat("[[reward]]\nname = \"", name, "\"\ntype = \"", type,
             "\"\nweight = ", name == "good" ? 1 : 0,
             "\ndeadline_s = ", waits(name) ? kDeadlineS : kLongDeadlineS, "\n", keys, "\n");
}

std::string failing_program(const std::string& mode, const std::string& argument = "") {
  return entry(mode, "program", cat("command = ", python_command(mode, argument)));
}

// What a server on a thread of this process answers, by path.
testing::TimedReply answer(const HttpRequest& request) {
  if (request.path == "/500") return {{.status = 500, .body = "down"}, 0};
  if (request.path == "/html") return {{.status = 200, .body = "<html>"}, 0};
  return testing::lengths(request, request.path == "/slow" ? 20 : 0);
}

std::string all_that_fail(const testing::RewardServer& server) {
  const std::string plugin = cat("path = \"", VERNIER_TEST_PLUGINS, "/test_plugin.so\"\n");
  std::string out;
  for (const char* mode : {"sleep", "die", "garbage", "nan", "few"}) out += failing_program(mode);
  out += failing_program("late", "5");
  for (const char* path : {"500", "html", "slow"})
    out += entry(cat("url-", path), "url",
                 cat("retries = 1\nurl = \"", server.url(cat("/", path)), "\""));
  for (const char* mode : {"crash", "loop"})
    out +=
        entry(cat("library-", mode), "library", cat(plugin, "config = { mode = \"", mode, "\" }"));
  return out;
}

TEST_CASE("the fault drill: a step ends in time, others are not touched, causes are told") {
  const std::map<std::string, std::string> causes = {
      {"sleep", "timeout"},       {"die", "died"},
      {"garbage", "garbage"},     {"nan", "nan"},
      {"few", "count"},           {"late", "timeout"},
      {"url-500", "http 500"},    {"url-html", "garbage"},
      {"url-slow", "timeout"},    {"library-crash", "died"},
      {"library-loop", "timeout"}};
  {
    testing::RewardServer server(answer);
    const ScoringChain chain =
        outside_chain(all_that_fail(server) +
                      entry("good", "program", cat("command = ", python_command("good"))));
    for (int64_t step = 0; step < 2; ++step) {
      Group group = outside_group({"a", "bb", "ccc", "dddd"}, step);
      const Clock clock;
      chain.score(group, false);
      CHECK(clock.seconds() < kDeadlineS + kGraceS);
      for (const Response& response : group.responses) {
        CHECK(response.reward == static_cast<double>(response.text.size()));
        REQUIRE(response.rewards.size() == causes.size() + 1);
        for (const RewardPart& part : response.rewards) {
          CAPTURE(part.name);
          CAPTURE(part.abstained);
          if (part.name == "good")
            CHECK(part.abstained == "");
          else
            CHECK(begins(part.abstained, causes.at(part.name) + ": "));
        }
      }
    }
  }
  CHECK(comes_true([] { return testing::spawned().empty(); }));
}

TEST_CASE("the fault drill: each of them ends the run by its name and cause, where it goes on") {
  testing::RewardServer server(answer);
  for (const auto& [keys, said] :
       {std::pair<std::string, std::string>{failing_program("garbage"), "reward.garbage: "},
        {failing_program("nan"), "reward.nan: "},
        {entry("down", "url", cat("retries = 0\nurl = \"", server.url("/500"), "\"")),
         "reward.down: "}}) {
    const ScoringChain chain = outside_chain(keys + "max_failed_share = 0.5\nfailure_window = 8\n");
    Group group = outside_group({"a", "b", "c"});
    chain.score(group, false);
    Group next = outside_group({"a", "b", "c"}, 1);
    std::string why;
    try {
      chain.score(next, false);
    } catch (const RunError& problem) {
      why = problem.what();
    }
    CAPTURE(why);
    CHECK(begins(why, said));
    CHECK(why.find("6 of the last 6 responses could not be scored") != std::string::npos);
    CHECK(why.find(said == "reward.down: "  ? "(http 500 6)"
                   : said == "reward.nan: " ? "(nan 6)"
                                            : "(garbage 6)") != std::string::npos);
  }
}

}  // namespace
}  // namespace vernier

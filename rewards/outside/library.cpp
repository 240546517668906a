// Asks a shared library behind the C interface of rewards/plugin.h.
//
// By default it is hosted: it runs in a process of its own, which is killed where it hangs and
// started again where it crashes. With hosted = false it runs in this process: a call costs less, a
// crash is ours, and a call that does not come back in time ends the run.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "core/base/files.h"
#include "core/base/json.h"
#include "rewards/outside/outside.h"
#include "rewards/outside/plugin_library.h"
#include "rewards/outside/program_pool.h"
#include "rewards/outside/wire.h"

namespace vernier {
namespace {

// Calls a library on a thread of its own.
class LibraryThread final : public Answerer {
 public:
  LibraryThread(const std::string& path, const std::string& config)
      : shared_(std::make_shared<Shared>()) {
    shared_->library = std::make_unique<PluginLibrary>(path, config);
    thread_ = std::thread([shared = shared_] { shared->run(); });
  }

  ~LibraryThread() override {
    bool busy = false;
    {
      const std::lock_guard hold(shared_->lock);
      shared_->stopping = true;
      busy = shared_->busy;
    }
    shared_->changed.notify_all();
    // A call that does not come back cannot be ended; the process is about to.
    if (busy)
      thread_.detach();
    else
      thread_.join();
  }

  void ask(const QuestionPtr& question) override {
    {
      const std::lock_guard hold(shared_->lock);
      shared_->waiting.push_back(question);
    }
    shared_->changed.notify_all();
  }

  bool is_stuck() const override {
    const std::lock_guard hold(shared_->lock);
    return shared_->busy && std::chrono::steady_clock::now() >= shared_->call_ends;
  }

  std::map<std::string, int64_t> counters() const override { return {{"late", shared_->late}}; }

 private:
  // Of the thread too, which may outlive the rest.
  struct Shared {
    std::mutex lock;
    std::condition_variable changed;
    std::deque<QuestionPtr> waiting;
    bool stopping = false, busy = false;
    Question::Time call_ends = {};  // deadline_s after the call began, not after the question
    std::atomic<int64_t> late = 0;
    std::unique_ptr<PluginLibrary> library;

    void run() {
      std::unique_lock hold(lock);
      while (true) {
        changed.wait(hold, [this] { return stopping || !waiting.empty(); });
        if (stopping) return;
        const QuestionPtr question = waiting.front();
        waiting.pop_front();
        call_ends = std::chrono::steady_clock::now() + as_duration(question->deadline_s());
        busy = true;
        hold.unlock();
        answer(*question);
        hold.lock();
        busy = false;
      }
    }

    void answer(Question& question) {
      const auto asked = question.asked();
      if (!asked) return;
      if (std::chrono::steady_clock::now() >= question.deadline()) {
        question.fail("timeout", cat("waited ", question.deadline_s(),
                                     " s for its turn; the library is at one call at a time"));
        return;
      }
      try {
        if (!question.answer(library->score(*asked))) ++late;
      } catch (const BadReply& problem) {
        question.fail(problem.cause(), problem.what());
      }
    }
  };

  std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

std::unique_ptr<Reward> make_library(Binder& config, const ScoringContext& context) {
  PoolConfig pool;
  pool.name = config.section();
  pool.greets = true;
  OutsideConfig outside;
  std::string path, table = "{}";
  bool hosted = true;
  config.text("path", path, "the library, as my_reward.so");
  config.any_table("config", table, "what it is configured with; it reads it as JSON");
  config.flag("hosted", hosted,
              "whether it runs in a process of its own, which may crash and hang");
  outside.bind(config);
  pool.bind(config, outside.deadline_s);
  for (const char* key : {"copies", "call_s", "start_s"})
    config.only_if(key, hosted, "hosted = false");
  if (path.empty()) {
    config.error(config.has("path") ? "path" : "",
                 "needs path, a library made with rewards/plugin.h");
    return nullptr;
  }
  pool.spec.library = path;
  pool.spec.config = dump_json(parse_json(table, "config"));
  try {
    if (!fs::exists(path)) fail(path, ": no such file");
    if (context.only_read) return std::make_unique<OutsideReward>(outside, nullptr);
    std::unique_ptr<Answerer> service;
    if (hosted)
      service = std::make_unique<ProgramPool>(pool);
    else
      service = std::make_unique<LibraryThread>(path, pool.spec.config);
    return std::make_unique<OutsideReward>(outside, std::move(service));
  } catch (const BugError&) {
    throw;
  } catch (const Error& problem) {
    config.error("path", problem.what());
    return nullptr;
  }
}

const RewardRegistry::Entry entry{"library",
                                  {"asks a shared library with a C interface",
                                   "r = what it answers", "its own", "rewards/plugin.h"},
                                  make_library};

}  // namespace
}  // namespace vernier

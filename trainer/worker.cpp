#include "trainer/worker.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/base/pulse.h"
#include "core/comm/ranks.h"
#include "core/control/control_client.h"
#include "core/control/frame.h"
#include "core/kernels/threads.h"
#include "core/model/head_files.h"
#include "rollout/engine.h"
#include "rollout/worker_messages.h"

namespace vernier {
namespace {

uint16_t type_of(WorkerMessage message) { return static_cast<uint16_t>(message); }

// A worker whose main thread hangs is no use: its groups are drawn by others once it is gone.
std::string beat(double deadline_s) {
  const pulse::State state = pulse::state();
  if (state.slow || state.waiting || state.seconds < deadline_s) return "";
  log::warn(cat("no sign of life for ", fixed(state.seconds, 0), " s in ", state.phase,
                "; this worker ends"));
  _exit(1);
}

class Worker {
 public:
  Worker(const WorkerOptions& options, control::ControlClient& job, const WorkerSetup& setup,
         std::string host)
      : job_(job),
        setup_(setup),
        host_(std::move(host)),
        model_(model_of(setup)),
        engine_(*model_.decoder, *model_.tokenizer) {
    cluster_.interface = options.interface;
    cluster_.deadline_s = setup.deadline_s / 2;  // so that the job hears of what failed in time
    RolloutConfig& drawing = setup_.drawing;
    // What the job's processor multiplies, this one may not.
    if (drawing.weights == kernels::WeightFormat::bf16_pairs)
      drawing.weights = kernels::bf16_format();
    rules_.emplace(drawing, *model_.tokenizer, model_.decoder->spec());
    if (setup.weights_beside) room_ = at::zeros_like(model_.decoder->trained_weights());
    log::info(cat("joined: a model of ", model_.decoder->num_parameters(), " parameters"));
    job_.send(type_of(WorkerMessage::ready), "");
  }

  /// What the job ends with, where one of these says so.
  std::optional<int> hear(const std::vector<control::Message>& messages) {
    for (const control::Message& message : messages) {
      pulse::beat();
      switch (static_cast<WorkerMessage>(message.type)) {
        case WorkerMessage::weights:
          take_weights(weights_notice_from(message.payload));
          break;
        case WorkerMessage::draw:
          take(draw_from(message.payload));
          break;
        case WorkerMessage::forget:
          engine_.interrupt();
          waiting_.clear();
          break;
        case WorkerMessage::over:
          return over_from(message.payload).code;
        default:
          fail_run("the job sent a message of type ", message.type);
      }
    }
    return std::nullopt;
  }

  /// How long a message may be waited for, in s.
  double patience() const { return draws() ? 0 : copy_ != nullptr ? 0.005 : 0.2; }
  void work() {
    bool here = false;
    if (copy_ != nullptr && arriving([&] { here = copy_->here(); }) && here) take_arrived();
    if (draws()) engine_.step();
  }

 private:
  bool draws() const { return version_ >= 0 && !engine_.idle(); }

  static Model model_of(const WorkerSetup& setup) {
    ModelHead head = head_from_files(setup.files, setup.max_length);
    return {.decoder = std::make_unique<Decoder>(head.spec, false, at::kFloat, at::kCPU),
            .tokenizer = std::move(head.tokenizer)};
  }

  // What is in the making goes on under the new weights; where tokens of those before are allowed,
  // it goes on under these until the new ones are here.
  void take_weights(const WeightsNotice& notice) {
    const pulse::Slow slow("taking weights in");
    copy_.reset();  // the job has given up what was on its way
    coming_ = notice.version;
    const bool beside = room_.defined() && version_ >= 0;
    if (!beside) stop_drawing();
    if (arriving([&] { begin(notice); }) && !beside) take_arrived();
  }

  void begin(const WeightsNotice& notice) {
    if (notice.fresh) {
      group_.reset();
      if (!place_) place_.emplace(host_, static_cast<int>(notice.port), cluster_.deadline_s);
      group_.emplace(*place_, notice.group, notice.rank, notice.size, cluster_);
    }
    if (!group_) fail_run("they go to a group that this worker is not in");
    at::Tensor& weights = room_.defined() ? room_ : model_.decoder->trained_weights();
    copy_ = group_->begin_copy(weights, {}, notice.version, "weights to the workers");
  }

  void take_arrived() {
    const pulse::Slow slow("taking weights in");
    if (!arriving([&] {
          if (!copy_->finish()) fail_run("they are not what was sent");
        }))
      return;
    copy_.reset();
    stop_drawing();
    if (room_.defined()) model_.decoder->trained_weights().copy_(room_);
    model_.decoder->trained_weights_changed();
    version_ = coming_;
    tell_arrived(true);
    go_on();
  }

  // Something of weights on their way. Those that came to an end in the middle are none: the job,
  // which is told, sends them again.
  template <class Body>
  bool arriving(const Body& body) {
    try {
      body();
      return true;
    } catch (const RunError& problem) {
      log::warn(cat("the weights have not arrived: ", problem.what()));
      copy_.reset();
      group_.reset();
      place_.reset();  // its connection may be what is broken
      tell_arrived(false);
      return false;
    }
  }

  void tell_arrived(bool whole) {
    job_.send(type_of(WorkerMessage::arrived),
              to_bytes(WeightsArrived{.version = coming_, .whole = whole}));
  }

  void stop_drawing() {
    std::vector<Request> open = engine_.interrupt();
    waiting_.insert(waiting_.end(), std::make_move_iterator(open.begin()),
                    std::make_move_iterator(open.end()));
    version_ = -1;
  }

  void go_on() {
    for (const Request& one : waiting_) longest_ = std::max(longest_, std::ssize(one.prompt.ids));
    const RolloutConfig& drawing = setup_.drawing;
    const int64_t step = drawing.prompts_per_step * drawing.num_generations;
    engine_.open(drawing,
                 std::max(std::min(drawing.max_running, step),
                          std::ssize(waiting_) * drawing.num_generations),
                 longest_);
    for (Request& one : std::exchange(waiting_, {})) {
      one.weight_version = version_;
      engine_.submit(std::move(one));
    }
  }

  void take(RemoteDraw draw) {
    const int64_t place = draw.place, length = std::ssize(draw.prompt.ids);
    Request request{.prompt = std::move(draw.prompt),
                    .rules = rules_->at(draw.limit),
                    .key = {.seed = draw.seed, .step = draw.step},
                    .weight_version = version_,
                    .group_id = place,
                    .grown = {},
                    .ended = {},
                    .done = [this, ticket = draw.ticket](Group&& group) {
                      job_.send(type_of(WorkerMessage::group), to_bytes(ticket, group));
                    }};
    if (version_ >= 0 && length <= longest_) {
      engine_.submit(std::move(request));
      return;
    }
    if (version_ >= 0) waiting_ = engine_.interrupt();
    waiting_.push_back(std::move(request));
    if (version_ >= 0) go_on();  // with room for a longer prompt
  }

  control::ControlClient& job_;
  WorkerSetup setup_;
  std::string host_;
  ClusterConfig cluster_;
  Model model_;
  Engine engine_;
  std::optional<RulesByLimit> rules_;  // once the weights' format is this machine's
  std::optional<MeetingPlace> place_;
  std::optional<Ranks> group_;
  at::Tensor room_;               // for weights that come beside what is drawn
  std::unique_ptr<Copy> copy_;    // of those that are on their way
  int64_t coming_ = 0;            // their version
  std::vector<Request> waiting_;  // while there are no weights
  int64_t version_ = -1;          // of the weights; -1: none are whole
  int64_t longest_ = 64;          // prompt that the engine is open for
};

}  // namespace

int work(const WorkerOptions& options, const std::atomic<bool>& stop) {
  const auto where = host_and_port(options.join);
  if (!where) fail("--join: '", options.join, "' is not HOST:PORT, as 127.0.0.1:29600");
  const std::string secret = control::read_secret(options.secret);
  set_threads(options.threads);
  pulse::enter("drawing");
  // The job's own deadline is heard with its first message, which may come late.
  control::Limits limits;
  limits.deadline_s = 600;
  auto deadline = std::make_shared<std::atomic<double>>(600);
  control::ControlClient job(where->first, where->second, secret, limits,
                             [deadline] { return beat(*deadline); });
  std::vector<control::Message> messages;
  while (messages.empty()) {
    if (stop) return 0;
    messages = job.poll(0.2);
    pulse::beat();
  }
  if (messages.front().type == type_of(WorkerMessage::over))
    return over_from(messages.front().payload).code;
  if (messages.front().type != type_of(WorkerMessage::setup))
    fail_run(options.join, ": the job began with a message of type ", messages.front().type);
  const WorkerSetup setup = setup_from(messages.front().payload);
  *deadline = setup.deadline_s;
  job.set_deadline(setup.deadline_s);
  std::optional<pulse::Slow> slow("making room for the weights");
  Worker worker(options, job, setup, where->first);
  slow.reset();
  for (messages.erase(messages.begin()); !stop; messages = job.poll(worker.patience())) {
    if (const auto code = worker.hear(messages)) return *code;
    pulse::beat();
    worker.work();
  }
  job.finish();
  return 0;
}

}  // namespace vernier

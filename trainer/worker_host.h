// The workers of a job, as the rank that they have joined sees them.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/comm/ranks.h"
#include "core/control/control_server.h"
#include "rollout/remote_draw.h"
#include "rollout/worker_messages.h"
#include "trainer/trainee.h"

namespace vernier {

/// Workers come and go while the job runs. One that has joined gets what it needs to draw, and from
/// the next publish() on the weights: every change of who is there makes a group of its own to send
/// them in. One that dies, stalls or sends what is no group is gone, and its groups are drawn
/// again.
class WorkerHost : public RemoteDrawers {
 public:
  /// Listens where the configuration says. UsageError where that cannot be.
  WorkerHost(const RunConfig& config, const Trainee& trainee);
  /// Tells them that the job is over: they end with the code that end_with() said, else with 1.
  ~WorkerHost() override;
  void end_with(int code) { code_ = code; }

  /// Waits for as many as the configuration wants at the start. RunError where they do not come;
  /// Interrupted soon after `stop` becomes true.
  void wait_at_start(const std::atomic<bool>& stop);

  /// Sends the trainee's weights, those after `version` steps, to all who are ready; with
  /// rollout.max_staleness beside what all of them draw, where they have those before. Whom they do
  /// not reach is dropped: those who leave or say nothing for cluster.deadline_s, then those who
  /// are new, then those who say that they have not arrived. The job goes on in any case.
  void publish(int64_t version);
  /// Before the weights change: none is on its way any more.
  void let_go();

  int64_t count() const override;
  int64_t version() const override { return version_; }
  int64_t with_room(int64_t most) override;
  void give(int64_t drawer, const RemoteDraw& draw) override;
  void forget() override;
  News news(double seconds) override;

 private:
  struct Given {
    RemoteDraw draw;
    int64_t oldest = 0;  // weights that may draw it
  };
  struct Worker {
    std::string from;
    bool ready = false;
    bool member = false;                    // has the weights
    std::optional<WeightsArrived> arrived;  // what it said of those that were sent last
    std::map<int64_t, Given> given;         // by ticket
  };

  void hear(double seconds);
  void hear(const control::PeerEvent& event);
  void take_group(int64_t peer, Worker& worker, std::string_view bytes);
  void leave(int64_t peer, const std::string& why);
  std::vector<int64_t> ready() const;
  void publish_now(int64_t version);
  bool begin_weights(const std::vector<int64_t>& members, int64_t version);
  bool end_weights();
  bool wait_for_arrival();
  bool arrived_everywhere() const;
  void have_weights();
  void look_after_weights();
  template <class Body>
  bool reaches_all(const Body& body);
  void give_up(int64_t peer, const std::string& why);

  const RunConfig& config_;
  const Trainee& trainee_;
  const RolloutConfig drawing_;  // as it was configured: of this machine's memory nothing is said
  const std::string setup_;
  std::string host_;
  std::optional<control::ControlServer> server_;
  std::optional<MeetingPlace> place_;  // of the weights' groups
  std::map<int64_t, Worker> workers_;  // by peer, which is the drawer's number
  std::vector<int64_t> members_;
  int64_t epoch_ = 0;
  std::optional<Ranks> group_;        // this rank, then the members
  std::unique_ptr<Copy> copy_;        // of the weights that are on their way to them
  bool beside_;                       // may they be, while somebody draws
  bool forgotten_ = false;            // is what was drawn with those before
  int64_t version_ = 0, newest_ = 0;  // of the weights that the members have; that are sent
  int64_t next_ticket_ = 1;
  News news_;
  int code_ = 1;
};

}  // namespace vernier

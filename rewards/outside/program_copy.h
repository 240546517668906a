// One running copy of a program, and the lines that go to and fro.
#pragma once

#include <poll.h>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rewards/outside/question.h"
#include "rewards/outside/spawner.h"

namespace vernier {

/// Says what a program writes to its standard error, as far as it fits into a log.
class ProgramLog {
 public:
  explicit ProgramLog(std::string name) : name_(std::move(name)) {}
  void line(std::string_view text);

 private:
  std::string name_;
  std::chrono::steady_clock::time_point since_ = {};
  int64_t written_ = 0, left_out_ = 0;  // since then
};

/// Belongs to one thread.
class ProgramCopy {
 public:
  using Time = Question::Time;

  struct Host {
    const ChildSpec& spec;
    bool greets;  // its first line says {"ready":true} or {"refused":"why"}
    ProgramLog& log;
    double start_s = 60;  // that it may take from its first question to its first answer, or to
                          // its greeting
    std::function<void(const std::string& refused)> greeted;  // "": ready
    std::function<void()> late;                               // an answer came to nobody
    std::function<void(const QuestionPtr&)> give_back;        // for another copy
  };

  explicit ProgramCopy(Host host) : host_(std::move(host)) {}

  /// Throws RunError where it cannot be started.
  void start();
  bool running() const { return child_ != nullptr; }
  bool idle() const { return running() && ready_ && !over_ && question_ == nullptr; }
  /// "; the program has not answered since it was started 9 s ago"; "" where it has.
  std::string unanswered() const;
  /// When it may be started again.
  Time restart_at() const { return restart_at_; }

  void give(const QuestionPtr& question, double call_s);
  /// Ends what it is at where its time is over. `end` of the next such moment.
  void check_time(Time now);
  Time next_time() const;

  void add_files(std::vector<pollfd>& files) const;
  /// Reads and writes what it can.
  void serve();
  /// Starts in a row that came to no answer.
  int64_t lost_starts() const { return lost_starts_; }
  /// Why it is down; "" before it was started.
  const std::string& ended() const { return ended_; }

  /// Of a start that failed.
  void not_started(const std::string& why) { on_end(why); }

  /// Says that no more comes; the copy may end by itself.
  void close_in();

 private:
  // What a child writes.
  struct Stream {
    std::string bytes;  // that are no whole line yet, or whose turn has not come
    bool at_end = false;
    bool more = false;  // there may be whole lines left
  };

  void skip_written();
  void read(int file, Stream& stream);
  void take_lines(Stream& stream, int64_t& lines);
  void on_line(const std::string& line);
  void on_greeting(const std::string& line);
  void write();
  std::string limit_cpu(bool set) const;
  void kill();
  void let_end();
  void let_end_unread();
  void on_end(const std::string& how);

  Host host_;
  std::unique_ptr<Child> child_;
  bool ready_ = false, answers_ = false;  // it has answered since its start
  bool over_ = false;    // it is killed, or ends by itself: what it writes counts no more
  bool unread_ = false;  // it has not seen its question
  bool at_work_ =
      false;  // when it was killed: it had a question that it took too long or too much for
  Stream out_, err_;
  std::string to_send_;
  QuestionPtr question_;
  std::string id_;                // of the question
  std::deque<std::string> past_;  // ids of those before
  Time started_at_ = {};
  Time loaded_by_ = Time::max();  // its first answer; known from its first question on
  Time kill_at_ = Time::max();
  double call_s_ = 0;       // of the question
  std::string killed_for_;  // of its end: ", as it ..."
  Time restart_at_ = {};
  int64_t lost_starts_ = 0;
  std::string ended_;
};

}  // namespace vernier

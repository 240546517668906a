#include "rewards/outside/program_copy.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "rewards/outside/wire.h"

namespace vernier {
namespace {

constexpr size_t kMaxLine = 16 << 20;
// Of a stream at a turn, so that one who never stops does not keep the others waiting.
constexpr int kMaxReads = 64;
constexpr int64_t kMaxLines = 256;
constexpr int kMaxSkips = 16;  // turns of a stream before a question
constexpr size_t kMaxLogLine = 500;
constexpr int64_t kLogLines = 20;  // in kLogS seconds
constexpr double kLogS = 10;
constexpr size_t kPastIds = 64;
// That a program has to end when it has closed an end: what it ends with says why.
constexpr double kEndS = 1;
constexpr int kMaxGiven = 3;  // times that a question is given to a copy
constexpr double kFirstBackOffS = 0.1, kMaxBackOffS = 10;

}  // namespace

void ProgramLog::line(std::string_view text) {
  const auto now = std::chrono::steady_clock::now();
  if (now - since_ > as_duration(kLogS)) {
    if (left_out_ > 0) log::info(cat(name_, ": ", left_out_, " more lines were left out"));
    since_ = now;
    written_ = left_out_ = 0;
  }
  if (++written_ > kLogLines) {
    ++left_out_;
    return;
  }
  log::info(cat(name_, ": ", excerpt(text, kMaxLogLine)));
}

void ProgramCopy::start() {
  // What a copy before it left is not its own.
  out_ = err_ = {};
  to_send_.clear();
  past_.clear();
  over_ = at_work_ = answers_ = unread_ = false;
  killed_for_.clear();
  ready_ = !host_.greets;
  started_at_ = std::chrono::steady_clock::now();
  loaded_by_ = Time::max();
  kill_at_ = ready_ ? Time::max() : started_at_ + as_duration(host_.start_s);
  child_ = std::make_unique<Child>(host_.spec);
  if (const std::string problem = limit_cpu(false); !problem.empty()) fail_run(problem);
}

// The limit is of the whole process, so it moves on by what has been used so far. Why it cannot be
// had; "" where it can, or where the process has ended, which is told elsewhere. `set`: else it is
// only read, for what a program does before its first question is not limited, and limits that it
// sets itself in the meantime are its own.
std::string ProgramCopy::limit_cpu(bool set) const {
  const int64_t cpu_s = host_.spec.limits.cpu_s;
  if (cpu_s == 0) return "";
  const pid_t pid = child_->pid();
  clockid_t clock = 0;
  timespec used = {};
  rlimit limit = {};
  int error = ::clock_getcpuclockid(pid, &clock);
  if (error == 0 && ::clock_gettime(clock, &used) != 0) error = errno;
  if (error == 0 && ::prlimit(pid, RLIMIT_CPU, nullptr, &limit) != 0) error = errno;
  const auto wanted = static_cast<rlim_t>(used.tv_sec + 1 + cpu_s);
  const std::string begin = cat("limits.cpu_s = ", cpu_s, " cannot be had on this machine: ");
  if (error == 0 && wanted > limit.rlim_max)
    return cat(begin, "a process may use ", limit.rlim_max, " s in all (ulimit -Ht), of which ",
               used.tv_sec, " are used");
  limit.rlim_cur = wanted;
  if (set && error == 0 && ::prlimit(pid, RLIMIT_CPU, &limit, nullptr) != 0) error = errno;
  // Of a process that is gone each call says something else.
  const bool gone = ::kill(pid, 0) != 0 && errno == ESRCH;
  return error == 0 || gone ? "" : cat(begin, std::strerror(error));
}

void ProgramCopy::give(const QuestionPtr& question, double call_s) {
  const auto asked = question->asked();
  if (!asked) return;  // failed in the meantime
  skip_written();
  question_ = question;
  ++question->times_given;
  id_ = asked->id;
  call_s_ = call_s;
  const Time now = std::chrono::steady_clock::now();
  kill_at_ = now + as_duration(call_s);
  if (!answers_ && !host_.greets) {
    // It may be loading yet: were it killed for that, it would do so for ever.
    if (loaded_by_ == Time::max()) loaded_by_ = now + as_duration(host_.start_s);
    kill_at_ = std::max(kill_at_, loaded_by_);
  }
  if (over_ || out_.at_end) return let_end_unread();
  to_send_ += request_text(*asked) + "\n";
  if (const std::string problem = limit_cpu(true); !problem.empty()) {
    host_.log.line(cat(problem, "; it is started again"));
    unread_ = true;
    return kill();
  }
  write();
}

// Takes off what came before a question: it does not answer it.
void ProgramCopy::skip_written() {
  int64_t skipped = 0;
  for (int i = 0; i < kMaxSkips && !over_ && (i == 0 || out_.more); ++i) {
    read(child_->out(), out_);
    const auto end = out_.bytes.begin() + static_cast<std::ptrdiff_t>(out_.bytes.rfind('\n') + 1);
    skipped += std::count(out_.bytes.begin(), end, '\n');
    out_.bytes.erase(out_.bytes.begin(), end);
  }
  out_.more = false;
  if (skipped > 0)
    host_.log.line(cat("wrote ", skipped, " more lines to its standard output behind an answer"));
}

void ProgramCopy::check_time(Time now) {
  if (question_ && now >= question_->deadline())
    question_->fail("timeout",
                    cat("no answer within ", question_->deadline_s(), " s", unanswered()));
  if (!running() || now < kill_at_) return;
  if (over_) {
    killed_for_ = cat(", as it had closed its standard ", out_.at_end ? "output" : "input");
  } else if (!ready_) {
    killed_for_ = cat(", as it did not say within ", host_.start_s, " s that it is ready");
  } else if (const std::string why = unanswered(); !why.empty()) {
    killed_for_ = cat(", as it had not answered within start_s = ", host_.start_s, " s");
    question_->fail(
        "timeout", cat("no answer within start_s = ", host_.start_s, " s", why, "; it was killed"));
  } else {
    at_work_ = true;
    question_->fail("timeout",
                    cat("no answer within call_s = ", call_s_, " s; the program was killed"));
  }
  kill();
}

void ProgramCopy::kill() {
  over_ = true;
  kill_at_ = Time::max();
  child_->kill();
}

// What it writes from now on counts no more.
void ProgramCopy::let_end() {
  over_ = true;
  kill_at_ = std::chrono::steady_clock::now() + as_duration(kEndS);
}

std::string ProgramCopy::unanswered() const {
  if (!running() || answers_ || host_.greets) return "";
  const std::chrono::duration<double> since = std::chrono::steady_clock::now() - started_at_;
  return cat("; the program has not answered since it was started ", std::lround(since.count()),
             " s ago");
}

ProgramCopy::Time ProgramCopy::next_time() const {
  if (!running()) return restart_at_;
  if (out_.more || err_.more) return {};
  return !question_ || question_->answered() ? kill_at_ : std::min(kill_at_, question_->deadline());
}

void ProgramCopy::add_files(std::vector<pollfd>& files) const {
  if (!running()) return;
  files.push_back({child_->status_end(), POLLIN, 0});
  if (!out_.at_end) files.push_back({child_->out(), POLLIN, 0});
  if (!err_.at_end) files.push_back({child_->err(), POLLIN, 0});
  if (!to_send_.empty() && child_->in() >= 0) files.push_back({child_->in(), POLLOUT, 0});
}

void ProgramCopy::serve() {
  if (!running()) return;
  write();
  // Asked first: what was written before the end is read below.
  const std::string how = child_->ended();
  read(child_->out(), out_);
  read(child_->err(), err_);
  const bool awaited = question_ != nullptr || !ready_;
  if (!how.empty() && !(awaited && out_.more)) return on_end(how);
  if (out_.at_end && !out_.more && !over_) let_end();  // it can answer no more
}

void ProgramCopy::write() {
  if (to_send_.empty() || child_->in() < 0) return;
  const ssize_t count = ::write(child_->in(), to_send_.data(), to_send_.size());
  if (count > 0) to_send_.erase(0, static_cast<size_t>(count));
  if (count >= 0 || errno == EAGAIN || errno == EINTR) return;
  // It has not read the question, and reads no other.
  let_end_unread();
}

void ProgramCopy::let_end_unread() {
  child_->close_in();
  unread_ = true;
  if (!over_) let_end();
}

void ProgramCopy::read(int file, Stream& stream) {
  std::array<char, 1 << 16> bytes;
  int64_t lines = kMaxLines;
  take_lines(stream, lines);
  for (int i = 0; i < kMaxReads && lines > 0 && !stream.at_end; ++i) {
    const ssize_t count = ::read(file, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return;
    stream.at_end = count == 0;
    stream.bytes.append(bytes.data(), static_cast<size_t>(count));
    if (stream.at_end && !stream.bytes.empty() && &stream == &err_) stream.bytes += '\n';
    take_lines(stream, lines);
  }
}

// As many as `lines` says, from which they are taken off.
void ProgramCopy::take_lines(Stream& stream, int64_t& lines) {
  const bool is_out = &stream == &out_;
  std::string& buffer = stream.bytes;
  size_t begin = 0, end = 0;
  while (!(is_out && over_) && lines > 0 && (end = buffer.find('\n', begin)) != std::string::npos) {
    const std::string line = buffer.substr(begin, end - begin);
    begin = end + 1;
    --lines;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (is_out)
      on_line(line);
    else
      host_.log.line(line);
  }
  buffer.erase(0, begin);
  if (is_out && over_) buffer.clear();
  // Even where the buffer is empty: the rest may be on its way yet.
  stream.more = lines == 0 && !(stream.at_end && buffer.empty()) && !(is_out && over_);
  if (stream.more) return;
  if (!is_out && buffer.size() > kMaxLogLine * 8) buffer.resize(kMaxLogLine * 8);
  if (!is_out || buffer.size() <= kMaxLine) return;
  if (question_)
    question_->fail("garbage", cat("a line of more than ", kMaxLine, " bytes: ", excerpt(buffer)));
  at_work_ = question_ != nullptr;
  buffer.clear();
  kill();
}

void ProgramCopy::on_greeting(const std::string& line) {
  std::string refused = cat("it began with ", excerpt(line));
  try {
    const Json greeting = parse_reply(line);
    if (greeting.is_object() && greeting.value("ready", false)) refused.clear();
    if (greeting.is_object() && greeting.contains("refused"))
      refused = greeting["refused"].get<std::string>();
  } catch (const std::exception&) {
    // It says so in the words above.
  }
  ready_ = refused.empty();
  kill_at_ = Time::max();
  host_.greeted(refused);
}

void ProgramCopy::on_line(const std::string& line) {
  if (over_) return;
  if (!ready_) return on_greeting(line);
  const auto asked = question_ ? question_->asked() : nullptr;
  try {
    const Json reply = parse_reply(line);
    const std::string id = reply_id(reply);
    if (std::find(past_.begin(), past_.end(), id) != past_.end()) return host_.late();
    if (!question_) return host_.log.line(cat("an answer to no question: ", excerpt(line)));
    if (!asked && id == id_) {
      answers_ = true;
      host_.late();
    } else if (asked && question_->answer(read_reply(reply, *asked))) {
      answers_ = true;
    }
  } catch (const BadReply& problem) {
    if (!question_) return host_.log.line(cat("wrote to its standard output: ", excerpt(line)));
    question_->fail(problem.cause(), problem.what());
  }
  // Should it answer properly after all, that is an answer to a question of the past.
  past_.push_back(id_);
  if (past_.size() > kPastIds) past_.pop_front();
  question_.reset();
  kill_at_ = Time::max();
}

void ProgramCopy::close_in() {
  if (running()) child_->close_in();
}

void ProgramCopy::on_end(const std::string& how) {
  ended_ = how + killed_for_;
  // One that ends in order after an answer may have been given the next question before it was
  // gone.
  if (question_ && (unread_ || how == "exit code 0") && question_->times_given < kMaxGiven)
    host_.give_back(question_);
  else if (question_)
    question_->fail("died", cat("the program ended with ", ended_));
  if (!ready_ && host_.greets) host_.greeted(cat("it ended with ", ended_));
  question_.reset();
  child_.reset();
  lost_starts_ = answers_ || at_work_ ? 0 : lost_starts_ + 1;
  const double back_off_s = std::min(
      kMaxBackOffS, kFirstBackOffS * static_cast<double>(1 << std::min<int64_t>(lost_starts_, 10)));
  restart_at_ = std::chrono::steady_clock::now() + as_duration(lost_starts_ == 0 ? 0 : back_off_s);
}

}  // namespace vernier

#include "rewards/outside/program_copy.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "rewards/outside/wire.h"

namespace vernier {
namespace {

constexpr size_t kMaxLine = 16 << 20;
constexpr size_t kMaxLogLine = 500;
constexpr int64_t kLogLines = 20;  // in kLogS seconds
constexpr double kLogS = 10;
constexpr size_t kPastIds = 64;
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
  out_.clear();
  err_.clear();
  to_send_.clear();
  past_.clear();
  out_ended_ = err_ended_ = killed_ = at_work_ = answers_ = unread_ = false;
  ready_ = !host_.greets;
  child_ = std::make_unique<Child>(host_.spec);
}

// The limit is of the whole process, so it moves on by what has been used so far.
void ProgramCopy::limit_cpu() const {
  clockid_t clock = 0;
  timespec used = {};
  if (host_.spec.limits.cpu_s == 0 || ::clock_getcpuclockid(child_->pid(), &clock) != 0 ||
      ::clock_gettime(clock, &used) != 0)
    return;
  rlimit limit = {};
  ::prlimit(child_->pid(), RLIMIT_CPU, nullptr, &limit);
  limit.rlim_cur = static_cast<rlim_t>(used.tv_sec + 1 + host_.spec.limits.cpu_s);
  ::prlimit(child_->pid(), RLIMIT_CPU, &limit, nullptr);
}

void ProgramCopy::give(const QuestionPtr& question, double call_s) {
  const auto asked = question->asked();
  if (!asked) return;  // failed in the meantime
  question_ = question;
  ++question->times_given;
  id_ = asked->id;
  kill_at_ = std::chrono::steady_clock::now() + as_duration(call_s);
  killed_for_ = cat("no answer within call_s = ", call_s, " s; the program was killed");
  to_send_ += request_text(*asked) + "\n";
  limit_cpu();
  write();
}

void ProgramCopy::check_time(Time now) {
  if (question_ && now >= question_->deadline())
    question_->fail("timeout", cat("no answer within ", question_->deadline_s(), " s"));
  if (!question_ || now < kill_at_ || killed_) return;
  question_->fail("timeout", killed_for_);
  killed_ = at_work_ = true;
  child_->kill();
}

ProgramCopy::Time ProgramCopy::next_time() const {
  if (!running()) return restart_at_;
  if (!question_ || killed_) return Time::max();
  return question_->answered() ? kill_at_ : std::min(kill_at_, question_->deadline());
}

void ProgramCopy::add_files(std::vector<pollfd>& files) const {
  if (!running()) return;
  files.push_back({child_->status_end(), POLLIN, 0});
  if (!out_ended_) files.push_back({child_->out(), POLLIN, 0});
  if (!err_ended_) files.push_back({child_->err(), POLLIN, 0});
  if (!to_send_.empty() && child_->in() >= 0) files.push_back({child_->in(), POLLOUT, 0});
}

void ProgramCopy::serve() {
  if (!running()) return;
  write();
  // Asked first: what was written before the end is read below.
  const std::string how = child_->ended();
  read(child_->out(), out_, out_ended_, true);
  read(child_->err(), err_, err_ended_, false);
  if (!how.empty()) return on_end(how);
  if (out_ended_ && !killed_) {
    killed_ = true;  // it can answer no more
    child_->kill();
  }
}

void ProgramCopy::write() {
  if (to_send_.empty() || child_->in() < 0) return;
  const ssize_t count = ::write(child_->in(), to_send_.data(), to_send_.size());
  if (count > 0) to_send_.erase(0, static_cast<size_t>(count));
  if (count >= 0 || errno == EAGAIN || errno == EINTR) return;
  // It has not read the question, and reads no other.
  child_->close_in();
  unread_ = killed_ = true;
  child_->kill();
}

void ProgramCopy::read(int file, std::string& buffer, bool& at_end, bool is_out) {
  std::array<char, 1 << 16> bytes;
  // So many at a time, that one who never stops does not keep the others waiting.
  for (int i = 0; i < 64 && !at_end; ++i) {
    const ssize_t count = ::read(file, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return;
    at_end = count == 0;
    buffer.append(bytes.data(), static_cast<size_t>(count));
    if (at_end && !buffer.empty() && !is_out) buffer += '\n';
    take_lines(buffer, is_out);
  }
}

void ProgramCopy::take_lines(std::string& buffer, bool is_out) {
  size_t begin = 0;
  for (size_t end; (end = buffer.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const std::string line = buffer.substr(begin, end - begin);
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (is_out)
      on_line(line);
    else
      host_.log.line(line);
  }
  buffer.erase(0, begin);
  if (!is_out && buffer.size() > kMaxLogLine * 8) buffer.resize(kMaxLogLine * 8);
  if (killed_) return buffer.clear();
  if (!is_out || buffer.size() <= kMaxLine) return;
  if (question_)
    question_->fail("garbage", cat("a line of more than ", kMaxLine, " bytes: ", excerpt(buffer)));
  at_work_ = question_ != nullptr;
  buffer.clear();
  killed_ = true;
  child_->kill();
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
  host_.greeted(refused);
}

void ProgramCopy::on_line(const std::string& line) {
  if (killed_) return;
  if (!ready_) return on_greeting(line);
  const auto asked = question_ ? question_->asked() : nullptr;
  try {
    const Json reply = parse_reply(line);
    const std::string id = reply_id(reply);
    if (std::find(past_.begin(), past_.end(), id) != past_.end()) return host_.late();
    if (!question_) return host_.log.line(cat("an answer to no question: ", excerpt(line)));
    if (!asked && id == id_)
      host_.late();
    else if (asked && question_->answer(read_reply(reply, *asked)))
      answers_ = true;
  } catch (const BadReply& problem) {
    if (!question_) return host_.log.line(cat("wrote to its standard output: ", excerpt(line)));
    question_->fail(problem.cause(), problem.what());
  }
  // Should it answer properly after all, that is an answer to a question of the past.
  past_.push_back(id_);
  if (past_.size() > kPastIds) past_.pop_front();
  question_.reset();
}

void ProgramCopy::close_in() {
  if (running()) child_->close_in();
}

void ProgramCopy::on_end(const std::string& how) {
  // One that ends in order after an answer may have been given the next question before it was
  // gone.
  if (question_ && (unread_ || how == "exit code 0") && question_->times_given < kMaxGiven)
    host_.give_back(question_);
  else if (question_)
    question_->fail("died", cat("the program ended with ", how));
  if (!ready_ && host_.greets) host_.greeted(cat("it ended with ", how));
  question_.reset();
  child_.reset();
  ended_ = how;
  lost_starts_ = answers_ || at_work_ ? 0 : lost_starts_ + 1;
  const double back_off_s = std::min(
      kMaxBackOffS, kFirstBackOffS * static_cast<double>(1 << std::min<int64_t>(lost_starts_, 10)));
  restart_at_ = std::chrono::steady_clock::now() + as_duration(lost_starts_ == 0 ? 0 : back_off_s);
}

}  // namespace vernier

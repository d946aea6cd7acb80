#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_stream.h"

namespace ddpm {

/// Gradio's sessions: the jobs that a client asked for under a name of its choice, and the one
/// stream that tells of them all. Jobs keep what happens until there is a stream. Safe in any
/// thread.
///
/// A stream ends with close_stream when the session's last job is over; when its reader leaves
/// before, the session's jobs are cancelled.
class GradioSessions : public std::enable_shared_from_this<GradioSessions> {
 public:
  /// @param service must outlive the streams.
  explicit GradioSessions(Service& service) : service_(service) {}

  /// Forgets sessions whose clients never came for what they asked.
  ///
  /// @throws HttpError 429 if there are too many sessions.
  void make_room();

  /// Puts a job to the session of that name: a stream that is opened now tells of it, and a reader
  /// who leaves takes it along. So this comes before the client hears of the job.
  ///
  /// @param address of gradio_address().
  void join(const std::string& session, const JobId& id, std::string address);

  /// Has the session's stream, if one was open, tell of a job that joined: once the client knows
  /// the job's id, without which messages mean nothing to it.
  void tell(const std::string& session, const JobId& id);

  /// The session's stream; one that is there is closed.
  std::shared_ptr<HttpStream> open(const std::string& session);

 private:
  struct Event {
    std::string address;
    std::shared_ptr<JobWatcher::Watch> watch = {};  ///< Null until a stream tells of it.
  };
  struct Session {
    std::shared_ptr<HttpStream> stream = {};  ///< Null until the client opens it.
    std::map<JobId, Event> events = {};       ///< By job; those that are not told to their end.
  };
  bool is_left(const Session& session) const;
  void begin(const std::string& name, Session& session, const JobId& id);
  void close_if_done(const std::string& name);
  void end(const std::string& name, const JobId& id, const HttpStream* stream);
  void leave(const std::string& name, const HttpStream* stream);

  Service& service_;
  std::mutex mutex_;  // of what follows
  std::map<std::string, Session> sessions_;
};

/// Cancels a job that is open.
void cancel_gradio_job(Service& service, const JobId& id);

}  // namespace ddpm

#include "ddpm/serving/api/gradio_sessions.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>

#include "ddpm/serving/api/gradio_endpoint.h"
#include "ddpm/serving/api/submit_job.h"
#include "serving/gradio_api.h"

namespace ddpm {
namespace {

using testing::eventually;

/// Jobs that are held, and what their client's stream is told.
class GradioSessionsTest : public testing::GradioApi {
 protected:
  void SetUp() override {
    testing::GradioApi::SetUp();
    hold();
  }
  JobId joined_job() {
    const JobId id = submit_job(test_.service, parse_gradio_call(test_.service, arguments())).id;
    sessions_->join("s1", id, "");
    return id;
  }
  /// Until all is done that the watcher's thread was given.
  void finish_watching() {
    std::promise<void> done;
    test_.watcher.run([&] { done.set_value(); });
    done.get_future().wait();
  }
  static size_t count(const std::string& text, const std::string& word) {
    size_t found = 0;
    for (size_t at = 0; (at = text.find(word, at)) != text.npos; ++at) ++found;
    return found;
  }
  static std::string all_of(HttpStream& stream) {
    std::string text;
    EXPECT_TRUE(eventually([&] {
      text += stream.take(1 << 20);
      return stream.is_finished();
    }));
    return text;
  }

  std::shared_ptr<GradioSessions> sessions_ = std::make_shared<GradioSessions>(test_.service);
};

TEST_F(GradioSessionsTest, AReaderWhoLeavesBeforeAJobIsToldTakesItAlong) {
  const JobId id = joined_job();
  sessions_->open("s1")->reader_left();
  sessions_->tell("s1", id);
  finish_watching();
  release();
  EXPECT_EQ(wait_until_over(id).at("state"), "cancelled");
}

TEST_F(GradioSessionsTest, AStreamThatIsOpenTellsOfAJobWhenItMay) {
  const auto stream = sessions_->open("s1");
  const JobId id = joined_job();
  finish_watching();
  EXPECT_EQ(stream->queued_bytes(), 0U);
  sessions_->tell("s1", id);
  release();
  EXPECT_EQ(count(all_of(*stream), "process_completed"), 1U);
}

TEST_F(GradioSessionsTest, AStreamThatIsOpenedMeanwhileTellsOfAJobOnce) {
  const JobId id = joined_job();
  const auto stream = sessions_->open("s1");
  sessions_->tell("s1", id);
  release();
  const std::string text = all_of(*stream);
  EXPECT_EQ(count(text, "process_starts"), 1U);
  EXPECT_EQ(count(text, "process_completed"), 1U);
  EXPECT_EQ(count(text, "close_stream"), 1U);
}

TEST_F(GradioSessionsTest, AStreamEndsWhoseOnlyJobWasForgottenBeforeItWasTold) {
  const auto stream = sessions_->open("s1");
  const JobId id = joined_job();
  release();
  wait_until_over(id);
  test_.jobs.remove(id);
  sessions_->tell("s1", id);
  const std::string text = all_of(*stream);
  EXPECT_EQ(count(text, "process_completed"), 1U);
  EXPECT_EQ(count(text, "close_stream"), 1U);
}

}  // namespace
}  // namespace ddpm

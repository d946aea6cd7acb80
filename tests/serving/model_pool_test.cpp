#include "ddpm/serving/engine/model_pool.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "serving/fake_model.h"

namespace ddpm {
namespace {

using std::chrono::milliseconds;
using testing::fake_model;
using testing::FakeCalls;
using testing::FakeEngine;
using testing::Told;

std::vector<std::shared_ptr<EngineModel>> models_of(const std::shared_ptr<FakeCalls>& calls,
                                                    int64_t count, int64_t size_bytes) {
  std::vector<std::shared_ptr<EngineModel>> models;
  for (int64_t i = 0; i < count; ++i) {
    models.push_back(
        fake_model(calls, {.id = "model" + std::to_string(i), .size_bytes = size_bytes}));
  }
  return models;
}

EngineRequest steps(int64_t count) {
  return {.sampler = {.kind = SamplerKind::kDdim, .steps = count}};
}

class ModelPoolTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
};

TEST_F(ModelPoolTest, TheLeastRecentlyFoundModelMakesRoom) {
  const auto models = models_of(calls_, 3, 100);
  ModelPool pool(200, [](const std::function<void()>& task) { task(); });
  EXPECT_EQ(pool.find(models[0]).state, ModelState::kReady);
  EXPECT_EQ(pool.find(models[1]).state, ModelState::kReady);
  EXPECT_EQ(pool.find(models[0]).state, ModelState::kReady);
  EXPECT_EQ(calls_->loads, 2);
  EXPECT_EQ(pool.find(models[2]).state, ModelState::kReady);
  EXPECT_EQ(pool.find(models[0]).state, ModelState::kReady) << "it stayed";
  EXPECT_EQ(calls_->loads, 3);
  EXPECT_EQ(pool.find(models[1]).state, ModelState::kReady) << "read again";
  EXPECT_EQ(calls_->loads, 4);
  EXPECT_EQ(pool.stats().resident_bytes, 200);
  EXPECT_EQ(pool.stats().num_evictions, 2U);
}

TEST_F(ModelPoolTest, AModelInUseIsNeverPutOut) {
  const auto models = models_of(calls_, 2, 100);
  ModelPool pool(100, [](const std::function<void()>& task) { task(); });
  auto used = pool.find(models[0]);
  EXPECT_EQ(pool.find(models[1]).state, ModelState::kNoRoom);
  used.network.reset();
  EXPECT_EQ(pool.find(models[1]).state, ModelState::kReady);
}

TEST_F(ModelPoolTest, AFailureIsToldOnceAndTriedAgain) {
  const auto model = fake_model(calls_);
  const auto load = model->load;
  model->load = []() -> EngineNetwork { throw std::runtime_error("damaged"); };
  ModelPool pool(100, [](const std::function<void()>& task) { task(); });
  EXPECT_EQ(pool.find(model).state, ModelState::kLoading);
  const FoundModel failed = pool.find(model);
  EXPECT_EQ(failed.state, ModelState::kFailed);
  EXPECT_EQ(failed.message, "damaged");
  EXPECT_EQ(pool.stats().resident_bytes, 0);
  model->load = load;
  EXPECT_EQ(pool.find(model).state, ModelState::kReady);
}

TEST_F(ModelPoolTest, ModelsThatAreNoLongerServedLeaveOnceTheyAreIdle) {
  const auto models = models_of(calls_, 2, 100);
  ModelPool pool(200, [](const std::function<void()>& task) { task(); });
  pool.find(models[0]);
  auto used = pool.find(models[1]);
  pool.keep({});
  EXPECT_EQ(pool.stats().num_resident, 1);
  used.network.reset();
  pool.keep({});
  EXPECT_EQ(pool.stats().num_resident, 0);
  EXPECT_EQ(pool.stats().resident_bytes, 0);
}

TEST_F(ModelPoolTest, RequestsOfAModelThatCanNotBeReadFailAndOthersDoNot) {
  const auto models = models_of(calls_, 2, 100);
  models[0]->load = []() -> EngineNetwork { throw std::runtime_error("damaged"); };
  FakeEngine engine;
  const auto failing = engine.add(models[0], steps(4));
  const auto working = engine.add(models[1], steps(4));
  engine.run();
  EXPECT_TRUE(failing->has_ended_as(RequestOutcome::kFailed));
  EXPECT_TRUE(working->has_ended_as(RequestOutcome::kDone));
}

TEST_F(ModelPoolTest, ModelsShareTheTicksRequestByRequest) {
  const auto models = models_of(calls_, 2, 100);
  FakeEngine engine({.max_model_bytes = 200});
  for (int i = 0; i < 8; ++i) engine.add(models[0], steps(50));
  const auto alone = engine.add(models[1], steps(50));
  int64_t ticks = 0;
  while (alone->ends.empty() && ticks < 1000) {
    engine.tick();
    ++ticks;
  }
  EXPECT_LE(ticks, 101);
}

TEST_F(ModelPoolTest, AModelWithoutRoomGetsItOnceItsOldestRequestHasWaited) {
  const auto models = models_of(calls_, 2, 100);
  FakeEngine engine({.max_model_bytes = 100, .model_patience = milliseconds(200)});
  std::vector<std::shared_ptr<Told>> first{engine.add(models[0], steps(10))};
  engine.tick();
  const auto other = engine.add(models[1], steps(10));
  int64_t ticks = 0;
  while (other->ends.empty() && ticks < 1000) {  // a stream that never ends
    if (ticks % 5 == 0) first.push_back(engine.add(models[0], steps(10)));
    engine.tick();
    ++ticks;
  }
  EXPECT_GE(ticks, 20) << "not before its patience ends";
  EXPECT_LE(ticks, 20 + 10 + 10 + 3) << "running ones end, then its own steps";
  engine.run();
  for (const auto& told : first) EXPECT_TRUE(told->has_ended_as(RequestOutcome::kDone));
}

}  // namespace
}  // namespace ddpm

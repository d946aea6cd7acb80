#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "ddpm/config/run_config.h"
#include "ddpm/core/named_tensors.h"
#include "ddpm/data/shapes.h"
#include "ddpm/model/layers.h"
#include "ddpm/model/network.h"

namespace ddpm::testing {

/// One thread for the whole binary: these networks are so small that a second one only waits.
class OneThread : public ::testing::Environment {
 public:
  void SetUp() override { at::set_num_threads(1); }
};

/// An empty folder of this test's own, removed with all it holds.
class RunFolder {
 public:
  RunFolder() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::path(::testing::TempDir()) /
            (std::string(test->test_suite_name()) + "." + test->name());
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~RunFolder() { std::filesystem::remove_all(path_); }
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::vector<std::string> lines_of(const std::filesystem::path& path) {
  std::vector<std::string> lines;
  std::istringstream text(read_text(path));
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

/// A recipe for seconds: 8 x 8 grey shapes, T = 100, a UNet2D of 2 levels, everything that a run
/// writes switched off.
inline RunConfig tiny_config() {
  RunConfig config;
  config.data.image_size = 8;
  config.data.channels = 1;
  config.diffusion.num_timesteps = 100;
  config.diffusion.beta_end = 0.2;
  UNet2DConfig& unet = config.model.unet2d;
  unet.block_out_channels = {8, 16};
  unet.down_block_types = {DownBlockType::kDown, DownBlockType::kAttnDown};
  unet.up_block_types = {UpBlockType::kAttnUp, UpBlockType::kUp};
  unet.layers_per_block = 1;
  unet.norm_num_groups = 4;
  config.optimizer.lr = 2e-3;
  config.train.steps = 8;
  config.train.batch_size = 8;
  config.train.seed = 3;
  config.train.device = "cpu";
  config.train.log_every = 2;
  config.train.preview_every = 0;
  config.train.preview_images = 4;
  config.train.preview_steps = 2;
  config.train.checkpoint_every = 0;
  return config;
}

inline ImageSet tiny_images() { return make_shapes(/*count=*/50, /*size=*/8, 1, /*seed=*/0); }

/// Fills the sizes that the data gives, as the program does.
inline RunConfig resolved(RunConfig config) {
  return resolve_run_config(config, config.data.channels, config.data.image_size,
                            config.takes_labels() ? 8 : 0);
}

inline std::shared_ptr<NetworkImpl> initialized_network(const RunConfig& config) {
  auto network = make_network(config.model);
  initialize(*network, config.train.seed);
  return network;
}

/// Two convolutions with a batch norm and a dropout between them: the smallest network with running
/// statistics and randomness of its own. It takes no notice of t.
class BatchNormNetwork : public NetworkImpl {
 public:
  explicit BatchNormNetwork(int64_t in_channels = 1)
      : first_(register_module("first", Conv2d(in_channels, 4))),
        norm_(register_module("norm", BatchNorm2d(4))),
        last_(register_module("last", Conv2d(4, 1))) {
    first_->initialize(/*seed=*/5, /*first_tensor=*/0);
    norm_->initialize(/*seed=*/5, /*first_tensor=*/2);
    last_->initialize(/*seed=*/5, /*first_tensor=*/4);
  }

  Tensor forward(const Tensor& x, const Tensor& /*t*/, const NetworkLabels& /*labels*/) override {
    return last_->forward(
        at::dropout(norm_->forward_after_relu(first_->forward(x)), /*p=*/0.25, is_training()));
  }

 private:
  Conv2d first_;
  BatchNorm2d norm_;
  Conv2d last_;
};

/// Keeps what it is given and what it answers.
class RecordingNetwork : public BatchNormNetwork {
 public:
  explicit RecordingNetwork(int64_t in_channels = 1) : BatchNormNetwork(in_channels) {}

  Tensor forward(const Tensor& x, const Tensor& t, const NetworkLabels& given) override {
    seen.push_back(x.detach().clone());
    times.push_back(t.clone());
    labels.push_back(given);
    answers.push_back(BatchNormNetwork::forward(x, t, given));
    return answers.back();
  }
  std::vector<Tensor> seen, times, answers;
  std::vector<NetworkLabels> labels;
};

inline void expect_same_bits(const NamedTensors& got, const NamedTensors& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].first, expected[i].first);
    EXPECT_TRUE(at::equal(got[i].second, expected[i].second)) << got[i].first;
  }
}

}  // namespace ddpm::testing

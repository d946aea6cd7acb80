#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "config/config_error.h"
#include "ddpm/config/toml_config.h"

namespace ddpm {
namespace {

using testing::config_error;
using ::testing::HasSubstr;

std::string recipe_error(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return config_error([&] { parse_recipe(text, "recipes/x.toml", overrides); });
}

TEST(TomlErrorsTest, AnUnknownFieldNamesFileLineAndTheNearest) {
  EXPECT_EQ(recipe_error("# a comment\n\n[train]\nsteps = 3\nbatchsize = 4\n"),
            "[recipes/x.toml:5] unknown field 'train.batchsize': expected one of the known fields "
            "(did you mean 'train.batch_size'?)");
  EXPECT_EQ(recipe_error("lr = 1e-3"),
            "[recipes/x.toml:1] unknown field 'lr': expected one of the known fields (did you mean "
            "'optimizer.lr'?)");
  EXPECT_EQ(recipe_error("[train]\nsteps = 1\n[trian]\nsteps = 3"),
            "[recipes/x.toml:3] unknown field 'trian': expected one of the known fields (did you "
            "mean 'train'?)");
  EXPECT_THAT(recipe_error("[model]\nunet2d.momentum = 3"),
              HasSubstr("[recipes/x.toml:2] unknown field 'model.unet2d.momentum': expected one of "
                        "model.unet2d.sample_size, "));
  EXPECT_EQ(
      recipe_error("[zzz]"),
      "[recipes/x.toml:1] unknown field 'zzz': expected one of data, augment, diffusion, model, "
      "loss, optimizer, ema, train");
}

TEST(TomlErrorsTest, AWrongTypeSaysWhatWasThere) {
  EXPECT_EQ(recipe_error("[train]\nsteps = \"many\""),
            "[recipes/x.toml:2] wrong type for 'train.steps': expected integer at least 1, got the "
            "text \"many\"");
  EXPECT_EQ(recipe_error("[train]\nsteps = 1e5"),
            "[recipes/x.toml:2] wrong type for 'train.steps': expected integer at least 1, got "
            "100000");
  EXPECT_EQ(recipe_error("train = 3"),
            "[recipes/x.toml:1] wrong type for 'train': expected table, got 3");
  EXPECT_EQ(recipe_error("[[train]]\nsteps = 3"),
            "[recipes/x.toml:1] wrong type for 'train': expected table, got the list "
            "[{\"steps\":3}]");
  EXPECT_EQ(
      recipe_error("[train]\nsteps = 2024-01-01"),
      "[recipes/x.toml:2] wrong type for 'train.steps': expected no field that is a date or a "
      "time, got one");
  EXPECT_EQ(recipe_error("[model.unet2d]\nblock_out_channels = [\n  64,\n  \"128\",\n]"),
            "[recipes/x.toml:2] wrong type for 'model.unet2d.block_out_channels[1]': expected "
            "integer, got the text \"128\"");
}

TEST(TomlErrorsTest, AValueOutOfRangeSaysTheRange) {
  EXPECT_EQ(
      recipe_error("[train]\nbatch_size = 0"),
      "[recipes/x.toml:2] out of range: expected 'train.batch_size' to be a finite integer at "
      "least 1, got 0");
  EXPECT_EQ(recipe_error("[ema]\ndecay = 1.5"),
            "[recipes/x.toml:2] out of range: expected 'ema.decay' to be a finite number from 0 to "
            "1, got 1.5");
  EXPECT_THAT(recipe_error("[ema]\ndecay = nan"), HasSubstr("got nan"));
  EXPECT_THAT(recipe_error("[optimizer]\nlr = inf"), HasSubstr("got inf"));
  EXPECT_THAT(recipe_error("[model.unet2d]\nmid_block_scale_factor = -inf"), HasSubstr("got -inf"));
}

TEST(TomlErrorsTest, AnUnknownWordListsTheKnownOnes) {
  EXPECT_EQ(recipe_error("[diffusion]\nschedule = \"cosin\""),
            "[recipes/x.toml:2] unknown word for 'diffusion.schedule': expected one of linear, "
            "linear_scaled, quad, cosine, sigmoid_beta, sigmoid_alpha_bar, const, jsd, custom, got "
            "'cosin' (did you mean 'cosine'?)");
  EXPECT_EQ(recipe_error("[model.unet2d]\nup_block_types = [\"UpBlock2D\", \"upblock\"]"),
            "[recipes/x.toml:2] unknown word for 'model.unet2d.up_block_types[1]': expected one of "
            "UpBlock2D, AttnUpBlock2D, ResnetUpsampleBlock2D, got 'upblock' (did you mean "
            "'UpBlock2D'?)");
}

TEST(TomlErrorsTest, BadTomlNamesTheLine) {
  EXPECT_THAT(recipe_error("[train]\nsteps = \n"), HasSubstr("[recipes/x.toml:2] bad TOML: "));
  EXPECT_THAT(recipe_error("[train]\nsteps = 3\nsteps = 4"), HasSubstr("[recipes/x.toml:3] "));
  EXPECT_THAT(recipe_error("[train\n"), HasSubstr("[recipes/x.toml:1] bad TOML: "));
  EXPECT_THAT(recipe_error("text = \"\xff\""), HasSubstr("[recipes/x.toml:1] bad TOML: "));
  EXPECT_THAT(recipe_error("seed = 99999999999999999999"), HasSubstr("bad TOML: "));
}

TEST(TomlErrorsTest, AnErrorInAnOverrideNamesTheOverride) {
  EXPECT_EQ(recipe_error("", {"train.batchsize=4"}),
            "[--set train.batchsize=4] unknown field 'train.batchsize': expected one of the known "
            "fields (did you mean 'train.batch_size'?)");
  EXPECT_EQ(
      recipe_error("[train]\nsteps = 3", {"train.steps=many"}),
      "[--set train.steps=many] wrong type for 'train.steps': expected integer at least 1, got "
      "the text \"many\"");
  EXPECT_EQ(recipe_error("", {"train={steps = 0}"}),
            "[--set train={steps = 0}] out of range: expected 'train.steps' to be a finite integer "
            "at least 1, got 0");
  EXPECT_THAT(recipe_error("", {"diffusion.betas=[0.1,"}),
              HasSubstr("[--set diffusion.betas=[0.1,] bad TOML value: "));
  for (const std::string text : {"train.steps", "=3", ".steps=3", "train..steps=3", "train.=3",
                                 "train steps=3", "\"train\".steps=3"}) {
    EXPECT_EQ(recipe_error("", {text}),
              "[--set " + text +
                  "] bad override: expected NAME=VALUE, such as train.steps=1000, "
                  "got '" +
                  text + "'");
  }
}

TEST(TomlErrorsTest, TextThatIsNotUtf8IsRefused) {
  EXPECT_THAT(recipe_error("", {std::string(100, '\x80')}), HasSubstr("bad override"));
  EXPECT_THAT(recipe_error("", {"data.path=\xff\xfe"}), HasSubstr("wrong type for 'data.path'"));
}

TEST(TomlErrorsTest, AMissingRecipeIsNamed) {
  EXPECT_EQ(config_error([] { load_recipe("no/such.toml"); }),
            "[load_recipe] no such recipe: expected a TOML file, got 'no/such.toml'");
  EXPECT_THAT(config_error([] { load_recipe(::testing::TempDir()); }),
              HasSubstr("[load_recipe] no such recipe"));
}

TEST(TomlErrorsTest, CrossFieldErrorsNameTheFile) {
  EXPECT_THAT(recipe_error("[train]\naccumulation = 3"), HasSubstr("[recipes/x.toml] train.acc"));
}

}  // namespace
}  // namespace ddpm

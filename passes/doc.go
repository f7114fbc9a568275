// Package passes compresses models: it solves each layer with internal/obs, corrects what that leaves, writes the result in a
// form that runtimes execute fast, and says in a Report what was done at what loss.
//
// The one way to use it:
//
//	recipe := passes.DefaultRecipe()          // or passes.LoadRecipe("recipe.yaml")
//	recipe.NM = "2:4"
//	result, err := passes.Compress(ctx, model, data, recipe, passes.Options{})
//	err = result.Model.Save("out.onnx", onnxio.SaveOptions{})
//
// A Recipe says what is wanted, for the model and, through rules, for single layers; Compress turns it into a list of passes
// (simplify, calibrate, solve, correct, write) and applies them in order to a State.
package passes

package ops_test

import "testing"

// TestOldOpsets compares operators as they were in older operator sets with what ONNX Runtime gave: testdata/recorded/opsets.py says
// for what.
func TestOldOpsets(t *testing.T) { runRecorded(t, "opsets") }

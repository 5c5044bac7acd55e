package atomtest_test

import (
	"testing"

	"valence/atom"
	"valence/atom/atomtest"
)

func TestStore(t *testing.T) {
	atomtest.Conform(t, func(*testing.T) atom.Store { return atomtest.NewStore() })
}

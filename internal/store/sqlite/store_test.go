package sqlite_test

import (
	"testing"

	"valence/atom"
	"valence/atom/atomtest"
	"valence/internal/store/sqlite"
)

func TestConforms(t *testing.T) {
	atomtest.Conform(t, func(t *testing.T) atom.Store {
		s, err := sqlite.Open(t.TempDir(), sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

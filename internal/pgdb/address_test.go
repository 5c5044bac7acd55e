package pgdb

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckAddress(t *testing.T) {
	for _, c := range []struct{ value, text string }{
		{"postgres://valence@db/valence", ""},
		{"postgresql://db/valence?sslmode=verify-full", ""},
		{"postgres:///valence?host=/run/postgresql", ""},
		{"data/", "--store is not the address of a PostgreSQL database"},
		{"host=db password=hush", "--store is not the address of a PostgreSQL database"},
		{"postgres://valence:hush@db/valence", "--store contains a password"},
		{"postgres://valence@db/valence?password=hush", "--store contains a password"},
		{"postgres://valence@db/valence?sslpassword=hush", "--store contains a password"},
		{"postgres://valence:hush@db:x/valence", "--store is not a valid URL"},
	} {
		err := CheckAddress("--store", c.value)
		if c.text == "" {
			if err != nil {
				t.Errorf("%s: got %v, want no error", c.value, err)
			}
			continue
		}
		var e *Error
		if !errors.As(err, &e) || !strings.HasPrefix(e.Text, c.text) || e.Hint == "" {
			t.Errorf("%s: got %v, want %q and a hint", c.value, err, c.text)
			continue
		}
		if strings.Contains(e.Text+e.Hint, "hush") {
			t.Errorf("%s: the error %q, %q contains the password", c.value, e.Text, e.Hint)
		}
	}
}

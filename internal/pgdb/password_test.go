package pgdb

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The file of PGPASSWORD_FILE has the password, without the end of its line. A
// password in the URL is preferred, and no error contains one.
func TestPasswordFile(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	none := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct{ name, file, variable, url, want, err, hint string }{
		{"a file", write("s3cret \n"), "", "postgres://valence@db/shop", "s3cret ", "", ""},
		{"without a file", "", "other", "postgres://valence@db/shop", "other", "", ""},
		{"keywords", write("s3cret"), "", "user=valence host=db", "s3cret", "", ""},
		{"in the URL", none, "", "postgres://valence:own@db/shop", "own", "", ""},
		{"both", write("s3cret"), "other", "postgres://valence@db/shop", "", "PGPASSWORD and PGPASSWORD_FILE are both set", "set one of them"},
		{"missing", none, "", "postgres://valence@db/shop", "", "no such file", "name a readable file in PGPASSWORD_FILE"},
		{"empty", write("\n"), "", "postgres://valence@db/shop", "", "contains no password", "write the password"},
	} {
		t.Setenv("PGPASSWORD_FILE", c.file)
		t.Setenv("PGPASSWORD", c.variable)
		t.Setenv("PGPASSFILE", none)
		s, err := Parse(c.url, Session{Connections: 1})
		switch e := (*Error)(nil); {
		case c.err == "" && (err != nil || s.config.ConnConfig.Password != c.want):
			t.Errorf("%s: got %v, want the password %q", c.name, err, c.want)
		case c.err != "" && (!errors.As(err, &e) || !strings.Contains(e.Text, c.err) || !strings.Contains(e.Hint, c.hint) || strings.Contains(e.Text, "s3cret")):
			t.Errorf("%s: got %v %+v, want %q and %q", c.name, err, e, c.err, c.hint)
		}
	}
}

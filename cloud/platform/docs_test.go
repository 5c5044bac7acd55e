package platform

import (
	"os"
	"strings"
	"testing"
)

// TestDocumented checks docs/reference/platform-api.md against the tables: a row
// for every object with its verbs, and every action.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/reference/platform-api.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, r := range objects() {
		d := r.describe()
		row := "`" + d.Name + "`"
		if d.Unavailable == "" {
			var verbs []string
			for _, v := range []verb{verbGet, verbBulk, verbQuery, verbCreate, verbUpdate, verbDelete} {
				if _, ok := d.Rules[v]; ok {
					verbs = append(verbs, string(v))
				}
			}
			row = "| `" + d.Name + "` | `" + d.ID + "` | " + strings.Join(verbs, ", ") + " |"
		}
		if !strings.Contains(page, row) {
			t.Errorf("no %s", row)
		}
	}
	for _, e := range actions() {
		if name := e.path[0]; !strings.Contains(page, "…/"+name) && !strings.Contains(strings.Join(e.path, "/"), "ListenerStatus") {
			t.Errorf("no %s", e.name())
		}
	}
}

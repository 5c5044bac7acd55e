package metrics_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"valence/internal/metrics"
)

const monitoring = "../../docs/monitoring/"

// promtool runs promtool, or skips the test if it is not installed.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("promtool is not installed; run make setup")
	}
	if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(monitoring + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAlertRules checks the rules, and that each fires when it should.
func TestAlertRules(t *testing.T) {
	rules, tests := read(t, "alerts.rules"), read(t, "alerts_test.rules")
	for _, m := range regexp.MustCompile(`(?m)- alert: (\S+)`).FindAllStringSubmatch(rules, -1) {
		if !strings.Contains(tests, "- name: "+m[1]+"\n") {
			t.Errorf("%s: got no test, want one", m[1])
		}
	}
	promtool(t, "check", "rules", monitoring+"alerts.rules")
	promtool(t, "test", "rules", monitoring+"alerts_test.rules")
}

// dashboard is the part of a Grafana dashboard with the queries.
type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

// TestDashboard checks that every query of the dashboard is valid.
func TestDashboard(t *testing.T) {
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	n := 0
	for _, p := range d.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("panel %q: got no query, want one", p.Title)
		}
		for _, q := range p.Targets {
			n++
			expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$process", ".*").Replace(q.Expr)
			fmt.Fprintf(&rules, "      - { record: 'query:%d', expr: %q }\n", n, expr)
		}
	}
	if n < 15 {
		t.Errorf("got %d queries, want at least 15", n)
	}
	path := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(path, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}

// TestMonitoringUsesDocumentedMetrics checks that rules and dashboard name
// metrics that exist.
func TestMonitoringUsesDocumentedMetrics(t *testing.T) {
	documented := metrics.Documented()
	for _, file := range []string{"alerts.rules", "dashboard.json"} {
		for _, name := range regexp.MustCompile(`\b(valence|process|go)_[a-z_]+`).FindAllString(read(t, file), -1) {
			known := slices.ContainsFunc(documented, func(d metrics.Doc) bool {
				if prefix, any := strings.CutSuffix(d.Name, "*"); any {
					return strings.HasPrefix(name, prefix)
				}
				return d.Name == name || d.Type == "histogram" && (name == d.Name+"_bucket" || name == d.Name+"_count")
			})
			if !known {
				t.Errorf("%s: got %s, want a documented metric", file, name)
			}
		}
	}
}

package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Row is one line of the table.
type Row struct {
	Key      string       `json:"key"`
	Workload string       `json:"workload"`
	Baseline string       `json:"baseline"` // what the row is compared with; "" for a bound
	Unit     string       `json:"unit"`
	Base     float64      `json:"base"` // medians
	Atom     float64      `json:"atom"`
	Must     float64      `json:"must"` // a ratio to Baseline, or a bound in Unit
	Aim      float64      `json:"aim"`
	Least    bool         `json:"least"` // less is better
	Rounds   [][2]float64 `json:"rounds,omitempty"`
	Notes    []string     `json:"notes,omitempty"`
	At       time.Time    `json:"at"`
	Took     string       `json:"took"`
	Load     string       `json:"load"`
}

// value returns the figure that Must and Aim refer to.
func (r *Row) value() float64 {
	if r.Baseline == "" {
		return r.Atom
	}
	if r.Base == 0 {
		return 0
	}
	return r.Atom / r.Base
}

// reaches reports whether the value is at least as good as a bound.
func (r *Row) reaches(bound float64) bool {
	if r.Least {
		return r.value() <= bound
	}
	return r.value() >= bound
}

// verdict returns "aim", "reached" or "missed".
func (r *Row) verdict() string {
	switch {
	case r.Must == 0:
		return "–"
	case r.Aim != 0 && r.reaches(r.Aim):
		return "aim"
	case r.reaches(r.Must):
		return "reached"
	}
	return "**missed**"
}

func (r *Row) line() string {
	if r.Baseline == "" {
		return fmt.Sprintf("%s: %s %s, must %s: %s", r.Workload, figure(r.Atom), r.Unit, r.bound(r.Must), r.verdict())
	}
	return fmt.Sprintf("%s: %s of %s %s = %.2f, must %s: %s", r.Workload, figure(r.Atom), figure(r.Base), r.Unit, r.value(), r.bound(r.Must), r.verdict())
}

// bound formats Must or Aim.
func (r *Row) bound(v float64) string {
	sign := "≥ "
	if r.Least {
		sign = "≤ "
	}
	switch {
	case v == 0:
		return "–"
	case r.Baseline == "":
		return sign + figure(v) + " " + r.Unit
	}
	return sign + fmt.Sprintf("%.2f ×", v)
}

// figure formats a number with its significant digits.
func figure(v float64) string {
	switch {
	case v >= 1000:
		s := fmt.Sprintf("%.0f", v)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// Report holds the latest rows of every workload.
type Report struct {
	Machine Machine   `json:"machine"` // of the latest run
	At      time.Time `json:"at"`
	Rows    []Row     `json:"rows"`
}

// readReport reads the figures of the previous run.
func readReport(out string) (*Report, error) {
	r := &Report{}
	b, err := os.ReadFile(raw(out))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, r)
	}
	if err != nil {
		return nil, fmt.Errorf("figures of the run before: %w", err)
	}
	return r, nil
}

// raw returns the path of the JSON file with every figure.
func raw(out string) string { return strings.TrimSuffix(out, filepath.Ext(out)) + ".json" }

// replace replaces the rows of one workload, keeping the order of workloads.
func (r *Report) replace(key string, rows []Row, m Machine, at time.Time) {
	r.Machine, r.At = m, at.UTC()
	r.Rows = slices.DeleteFunc(r.Rows, func(row Row) bool { return row.Key == key })
	for _, row := range rows {
		row.Key, row.At, row.Load = key, at.UTC(), m.Load
		r.Rows = append(r.Rows, row)
	}
	slices.SortStableFunc(r.Rows, func(a, b Row) int { return rank(a.Key) - rank(b.Key) })
}

func rank(key string) int {
	return slices.IndexFunc(workloads, func(w workload) bool { return w.key == key })
}

// write writes the table and the figures.
func (r *Report) write(out string) error {
	figures, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(raw(out), append(figures, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(out, r.markdown(), 0o644)
}

func (r *Report) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Benchmarks

Written by `+"`make bench`"+`; do not edit. Each baseline and the atom run in turn, in one run, with the same load generator on the
same machine; each round starts both anew, in changing order, and the median of the rounds counts. 1 KiB order in, ten-field
document out. A request that is answered with an error fails the measurement. The baselines are in `+"`internal/test/bench/baseline`"+`,
the processes in `+"`internal/test/bench/project`"+`, every figure in `+"`%s`"+`.

In the rows of message brokers and queue tables the atom runs already, with its subscription paused, while the source is filled. The time
begins when the subscription is resumed, or when the program is called, and both connect then. It ends with the last acknowledgement, or
the end of the last execution. Until 2026-11-30 it included the start of the atom, and the end was known to 0.2 s only. The programs keep what the
connector keeps: manual acknowledgements and confirms, explicit acknowledgements, a commit after an fsync, batches of 100 rows.
The process that publishes has 100 workers, as many as the program has messages in flight. Each row names the load of the machine by other work.

| machine | |
| --- | --- |
| processor | %s, %d cores |
| memory | %s |
| data on | %s, Linux %s |
| built with | %s |
| load | %s |
| measured | %s |

| workload | baseline | atom | ratio | must reach | aim | |
| --- | --- | --- | --- | --- | --- | --- |
`, filepath.Base(raw("benchmarks.md")), r.Machine.CPU, r.Machine.Cores, r.Machine.Memory, r.Machine.Disk, r.Machine.Kernel, r.Machine.Go, r.Machine.Load,
		r.At.Format("2006-01-02 15:04 MST"))
	for i := range r.Rows {
		row := &r.Rows[i]
		base, ratio := "–", "–"
		if row.Baseline != "" {
			base, ratio = figure(row.Base)+" "+row.Unit+" ("+row.Baseline+")", fmt.Sprintf("%.2f", row.value())
		}
		fmt.Fprintf(&b, "| %s | %s | %s %s | %s | %s | %s | %s |\n", row.Workload, base, figure(row.Atom), row.Unit, ratio,
			row.bound(row.Must), row.bound(row.Aim), row.verdict())
	}
	b.WriteString("\n## Rounds\n\n")
	for i := range r.Rows {
		row := &r.Rows[i]
		fmt.Fprintf(&b, "- **%s** (%s", row.Workload, row.At.Format("2006-01-02 15:04"))
		if row.Took != "" {
			fmt.Fprintf(&b, ", %s", row.Took)
		}
		b.WriteString("): ")
		for j, pair := range row.Rounds {
			if j > 0 {
				b.WriteString("; ")
			}
			if row.Baseline == "" {
				b.WriteString(figure(pair[1]))
			} else {
				fmt.Fprintf(&b, "%s of %s", figure(pair[1]), figure(pair[0]))
			}
		}
		if row.Load != r.Machine.Load {
			b.WriteString(". Load: " + row.Load)
		}
		for _, n := range row.Notes {
			b.WriteString(". " + n)
		}
		b.WriteString(".\n")
	}
	return b.Bytes()
}

package platform

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"valence/cloud"
	"valence/cloud/cloudtest"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGolden sends the requests of testdata/*.http and compares the responses.
// The requests are those of the vendor's public documentation and of public
// scripts, except for ids. Each is a line "METHOD path", headers, an empty line
// and a body, and ends with a line of dots, followed by the response.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.http")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %v, %v, want len(files) above 0 and no error", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".http"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d := open(t, cloudtest.Options{}).furnish()
			got := d.replay(string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("%s:\n%s\nwant\n%s", file, got, text)
			}
		})
	}
}

const (
	endOfRequest = "\n....\n"
	endOfAnswer  = "\n====\n"
)

var (
	uuids     = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	schedules = regexp.MustCompile(`Q1BT[A-Za-z0-9]{98}`)
	times     = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z`)
	others    = regexp.MustCompile(`vi_[A-Za-z0-9_-]{43}|(queryToken"?[:>]"?|ListenerStatus-)[A-Za-z0-9_-]{20,}|[0-9a-f]{64}`)
)

// replay sends every request of a file and returns the file with the responses.
func (d *desk) replay(text string) string {
	names := map[string]string{d.environment: "ENV", d.empty: "BARE", d.atom: "ATOM", d.attachment: "ATTACHMENT", d.pkg: "PACKAGE", d.spare: "SPARE",
		d.component: "PROCESS", d.deployment: "DEPLOYMENT", strings.TrimPrefix(d.request, "executionrecord-"): "REQUEST",
		cloud.ProcessID(cloud.DefaultAccount, "shop", "other"): "OTHER", cloud.ProcessID(cloud.DefaultAccount, "shop", "nightly"): "NIGHTLY"}
	for name, process := range map[string]string{"SCHEDULE": "nightly", "UNSCHEDULED": "other", "LISTENS": "fetch-order"} {
		names[d.schedule(process)] = name
	}
	execution := uuids.FindString(d.execution)
	names[execution] = "EXECUTION"
	values := map[string]string{}
	for id, name := range names {
		values["{"+name+"}"] = id
	}
	values["{REQUEST}"], values["{EXECUTION}"] = d.request, d.execution
	var out strings.Builder
	for part := range strings.SplitSeq(text, endOfAnswer) {
		request, _, _ := strings.Cut(part, endOfRequest)
		if request = strings.TrimSpace(request); request == "" {
			continue
		}
		filled := request
		for name, value := range values {
			filled = strings.ReplaceAll(filled, name, value)
		}
		head, body, _ := strings.Cut(filled, "\n\n")
		lines := strings.Split(head, "\n")
		method, path, _ := strings.Cut(lines[0], " ")
		w := d.ask(method, strings.TrimPrefix(path, Root), body, lines[1:]...)
		answer := strings.TrimSpace(w.Body.String())
		if id := uuids.FindString(answer); strings.Contains(answer, `"token":"ListenerStatus-`) || strings.Contains(answer, `"queryToken"`) || id != "" {
			if m := regexp.MustCompile(`"(?:token|queryToken)":"([^"]+)"`).FindStringSubmatch(answer); m != nil {
				values["{TOKEN}"] = m[1]
			}
		}
		answer = schedules.ReplaceAllStringFunc(answer, func(id string) string { return "{" + names[id] + "}" })
		answer = uuids.ReplaceAllStringFunc(answer, func(id string) string {
			if names[id] == "" {
				names[id] = fmt.Sprintf("NEW-%d", len(names))
				values["{"+names[id]+"}"] = id
			}
			return "{" + names[id] + "}"
		})
		answer = times.ReplaceAllStringFunc(answer, func(s string) string {
			if strings.HasPrefix(s, "2026-01-31T15:32") {
				return s
			}
			return "{time" + strings.Repeat("+ms", strings.Count(s, ".")) + "}"
		})
		answer = others.ReplaceAllStringFunc(answer, func(s string) string {
			if m := others.FindStringSubmatch(s); m[1] != "" {
				return m[1] + "{token}"
			}
			return "{token}"
		})
		fmt.Fprintf(&out, "%s%s%d %s\n%s%s", request, endOfRequest, w.Code, w.Header().Get("Content-Type"), answer, endOfAnswer)
	}
	return out.String()
}

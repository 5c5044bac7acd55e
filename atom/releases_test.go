package atom_test

import (
	"context"
	"sync/atomic"
	"testing"

	"valence/atom"
	"valence/atom/atomtest"
	"valence/atom/steps"
	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// named loads a project as one of several.
func named(t *testing.T, registry connectors.Registry, name, place, yaml string) atom.Release {
	t.Helper()
	files := []processes.File{{Name: name + "/p.yaml", Content: []byte(yaml + connection)}}
	project, problems := processes.Load(files, &processes.Catalog{Steps: steps.Kinds(), Connectors: registry})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	return atom.Release{Name: name, Project: project, Files: files, Env: map[string]string{"PLACE": place}}
}

func TestReleasesAreTheirOwn(t *testing.T) {
	sys, store := newSystem(), atomtest.NewStore()
	var dead atomic.Bool
	sys.answers["get /east"] = func(int) (*document.Document, error) {
		if dead.Load() {
			return nil, connectors.Retry(fault.CodeUnavailable, "refused", 0, nil)
		}
		return document.FromJSON([]byte(`{"ok":true}`)), nil
	}
	registry := connectors.Registry{"fake": sys.connector()}
	process := func(name string) string {
		return "process: " + name + "\nlisten: { path: /" + name + ", auth: none }\nworkers: 4\nsequence: { key: \"${doc.n}\", scope: order }\n" +
			"retry: { max_attempts: 100, backoff: 1ms..2ms }\nsteps:\n  - call: sys.get\n    with: { path: \"/${env.PLACE}\" }\n"
	}
	both := []atom.Release{named(t, registry, "a", "east", process("first")), named(t, registry, "b", "west", process("second"))}
	r := startAll(t, sys, store, process("other")+connection)
	if err := r.atom.Deploy(t.Context(), both...); err != nil {
		t.Fatal(err)
	}
	views, err := r.atom.Connections(t.Context())
	if err != nil || len(views) != 2 || views[0].Connection != "a/sys" || views[1].Connection != "b/sys" {
		t.Fatal(views, err)
	}
	// One system is down: what is of the other project goes on, by the same key of the same scope's name too.
	dead.Store(true)
	waiting := r.accept("first", `{"n":1}`).Execution
	eventually(t, "tried", func() bool { return len(sys.seen()) > 1 })
	if v := r.ended(r.accept("second", `{"n":1}`).Execution); v.Status != "completed" {
		t.Errorf("%+v", v)
	}
	// It ends after a restart on what it started with, though another version and only the other project run.
	r.stop()
	dead.Store(false)
	r = startAll(t, sys, store, process("other")+connection)
	if err := r.atom.Deploy(t.Context(), both[1], named(t, registry, "a", "nowhere", "# newer\n"+process("first"))); err != nil {
		t.Fatal(err)
	}
	if v := r.ended(waiting); v.Status != "completed" {
		t.Errorf("%+v", v)
	}
	for _, path := range sys.paths() {
		if path == "/nowhere" {
			t.Error("it went on with the values of another version")
		}
	}
	// Names and requests are of the whole atom; a deployment that clashes changes nothing.
	for what, next := range map[string]atom.Release{
		"name": named(t, registry, "c", "x", process("second")),
		"path": named(t, registry, "c", "x", "process: third\nlisten: { path: /second, auth: none }\nsteps:\n  - log: x\n"),
	} {
		err := r.atom.Deploy(context.Background(), both[1], next)
		if problems, ok := err.(fault.Problems); !ok || len(problems) == 0 {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, ok := r.atom.Process("first"); !ok {
		t.Error("a deployment that clashes changed something")
	}
	if err := r.atom.Deploy(context.Background(), both[0], both[0]); err == nil {
		t.Error("one project was deployed twice")
	}
}

// TestSignalsStayInTheirProject: two projects that wait for the same name and
// key do not resume each other's.
func TestSignalsStayInTheirProject(t *testing.T) {
	sys := newSystem()
	registry := connectors.Registry{"fake": sys.connector()}
	project := func(name string) atom.Release {
		return named(t, registry, name, "x", "process: "+name+"-waits\nlisten: { path: /"+name+"/waits, auth: none }\nsteps:\n  - wait: decided\n    key: \"${doc.n}\"\n    timeout: 1h\n"+
			"---\nprocess: "+name+"-resumes\nlisten: { path: /"+name+"/resumes, auth: none }\nsteps:\n  - resume: decided\n    key: \"${doc.n}\"\n    body: { by: "+name+" }\n")
	}
	r := startAll(t, sys, nil, "process: other\nsteps:\n  - log: x\n")
	if err := r.atom.Deploy(t.Context(), project("a"), project("b")); err != nil {
		t.Fatal(err)
	}
	first, second := r.accept("a-waits", `{"n":1}`).Execution, r.accept("b-waits", `{"n":1}`).Execution
	for _, id := range []string{first, second} {
		eventually(t, "waits", func() bool { v, err := r.atom.Show(t.Context(), id); return err == nil && v.Status == "waiting" })
	}
	if v := r.ended(r.accept("b-resumes", `{"n":1}`).Execution); v.Status != "completed" {
		t.Fatalf("%+v", v)
	}
	if v := r.ended(second); v.Status != "completed" {
		t.Errorf("%+v", v)
	}
	if v, err := r.atom.Show(t.Context(), first); err != nil || v.Status != "waiting" {
		t.Errorf("the other project's went on: %+v %v", v, err)
	}
	r.ended(r.accept("a-resumes", `{"n":1}`).Execution)
	if v := r.ended(first); v.Status != "completed" {
		t.Errorf("%+v", v)
	}
}

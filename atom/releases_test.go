package atom_test

import (
	"context"
	"sync/atomic"
	"testing"

	"valence/atom"
	"valence/atom/steps"
	"valence/atom/store/storetest"
	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
	"valence/processes/loader"
)

// named loads a project as one of several.
func named(t *testing.T, registry connectors.Registry, name, place, yaml string) atom.Release {
	t.Helper()
	files := []processes.File{{Name: name + "/p.yaml", Content: []byte(yaml + connection)}}
	project, problems := loader.Load(files, &processes.Catalog{Steps: steps.Kinds(), Connectors: registry})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	return atom.Release{Name: name, Project: project, Files: files, Env: map[string]string{"PLACE": place}}
}

func TestReleasesAreIsolated(t *testing.T) {
	sys, kept := newSystem(), storetest.NewStore()
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
	r := startAll(t, sys, kept, process("other")+connection)
	if err := r.atom.Deploy(t.Context(), both...); err != nil {
		t.Fatal(err)
	}
	views, err := r.atom.Connections(t.Context())
	if err != nil || len(views) != 2 || views[0].Connection != "a/sys" || views[1].Connection != "b/sys" {
		t.Fatalf("got %v, %v, want no error, 2 views, connection a/sys and connection b/sys", views, err)
	}
	// One system is down: the other project continues, even with the same key and scope name.
	dead.Store(true)
	waiting := r.accept("first", `{"n":1}`).Execution
	eventually(t, "tried", func() bool { return len(sys.seen()) > 1 })
	if v := r.ended(r.accept("second", `{"n":1}`).Execution); v.Status != "completed" {
		t.Errorf("got %+v, want status completed", v)
	}
	// After a restart it finishes on its version, although only the other project is deployed, in another version.
	r.stop()
	dead.Store(false)
	r = startAll(t, sys, kept, process("other")+connection)
	if err := r.atom.Deploy(t.Context(), both[1], named(t, registry, "a", "nowhere", "# newer\n"+process("first"))); err != nil {
		t.Fatal(err)
	}
	if v := r.ended(waiting); v.Status != "completed" {
		t.Errorf("got %+v, want status completed", v)
	}
	for _, path := range sys.paths() {
		if path == "/nowhere" {
			t.Error("it went on with the values of another version")
		}
	}
	// Process names and listeners are unique in the atom; a conflicting deployment changes nothing.
	for what, next := range map[string]atom.Release{
		"name": named(t, registry, "c", "x", process("second")),
		"path": named(t, registry, "c", "x", "process: third\nlisten: { path: /second, auth: none }\nsteps:\n  - log: x\n"),
	} {
		err := r.atom.Deploy(context.Background(), both[1], next)
		if problems, ok := err.(fault.Problems); !ok || len(problems) == 0 {
			t.Errorf("got %s: %v, want problems", what, err)
		}
	}
	if _, ok := r.atom.Process("first"); !ok {
		t.Error("a deployment that clashes changed something")
	}
	if err := r.atom.Deploy(context.Background(), both[0], both[0]); err == nil {
		t.Error("one project was deployed twice")
	}
}

// Two projects that wait for the same name and key do not resume each other.
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
		t.Fatalf("got %+v, want status completed", v)
	}
	if v := r.ended(second); v.Status != "completed" {
		t.Errorf("got %+v, want status completed", v)
	}
	if v, err := r.atom.Show(t.Context(), first); err != nil || v.Status != "waiting" {
		t.Errorf("the other project's went on: got %+v %v, want no error and status waiting", v, err)
	}
	r.ended(r.accept("a-resumes", `{"n":1}`).Execution)
	if v := r.ended(first); v.Status != "completed" {
		t.Errorf("got %+v, want status completed", v)
	}
}

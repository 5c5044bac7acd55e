package loader

import (
	"strings"
	"time"

	"valence/connectors"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// The catalog of the tests has one kind of step per flow, with the keys of package
// atom/steps, and two connectors.

type (
	tIf struct {
		If         *expression.Expr
		Then, Else processes.Block
	}
	tSwitch struct {
		Value   *expression.Expr
		Cases   []processes.Path
		Default processes.Block
	}
	tTry struct {
		Try     processes.Block
		Catch   *tCatch
		Finally processes.Block
	}
	tCatch struct {
		Codes   []string
		Handled bool
		Steps   processes.Block
	}
	tEach struct {
		List       *expression.Expr
		Steps      processes.Block
		As, Errors string
		Parallel   int
		OnError    string
	}
	tRepeat struct{ Settings tRounds }
	tRounds struct {
		Max   int
		Until *expression.Expr
		Steps processes.Block
	}
	tBranch struct {
		Paths      []processes.Path
		Sequential bool
	}
	tReply struct {
		Body   *expression.Template
		Blocks tBlocks
		Status *expression.Expr
	}
	tBlocks struct{ Headers *expression.Template }
	tThrow  struct {
		Message *expression.Expr
		Detail  *expression.Template
		Code    string
	}
	tStop struct{ Reason *expression.Expr }
	tLog  struct{ Text *expression.Expr }
	tSet  struct{ Values *expression.Template }
	tMap  struct{ Template *expression.Template }
	tCall struct {
		Operation processes.Operation
		With      *expression.Template
		Body      *expression.Template
		Accept    connectors.Accept
		Retry     *processes.Retry
		Timeout   time.Duration
		Mode      string
	}
	tProcess struct {
		Name string
		Body *expression.Template
		Mode string
	}
	tWait struct {
		Name      string
		Key       *expression.Expr
		Timeout   time.Duration
		OnTimeout processes.Block
	}
	tResume struct {
		Name string
		Key  *expression.Expr
	}
	tSleep      struct{ For *expression.Expr }
	tState      struct{ Settings tProperties }
	tProperties struct {
		Set       *expression.Template
		IfVersion *expression.Expr
	}
	tValidate struct {
		Name    string
		profile *processes.Profile
	}
)

func testSteps() []processes.StepKind {
	kind := func(name string, flow processes.Flow, makes bool, make func() any, fields ...spec.Field) processes.StepKind {
		return processes.StepKind{Kind: name, Doc: "Test " + name + ".", Sample: "- " + name + ":\n", Flow: flow, MakesDocument: makes, New: make, Fields: fields}
	}
	modes := []string{"wait", "handoff"}
	list := []processes.StepKind{
		kind("call", processes.Plain, true, func() any { return &tCall{} },
			spec.Operation("call", func(s *tCall) *processes.Operation { return &s.Operation }, "The operation.").Required(),
			spec.With("with", func(s *tCall) **expression.Template { return &s.With }, "Its settings."),
			spec.Template("body", func(s *tCall) **expression.Template { return &s.Body }, "What is sent."),
			spec.Accept("accept", func(s *tCall) *connectors.Accept { return &s.Accept }, "Statuses."),
			spec.Retry("retry", func(s *tCall) **processes.Retry { return &s.Retry }, "The policy."),
			spec.Duration("timeout", func(s *tCall) *time.Duration { return &s.Timeout }, "Of one attempt."),
			spec.Enum("mode", func(s *tCall) *string { return &s.Mode }, "How.", modes...).Or("wait")),
		kind("map", processes.Plain, true, func() any { return &tMap{} },
			spec.Template("map", func(s *tMap) **expression.Template { return &s.Template }, "The template.").Required()),
		kind("set", processes.Plain, false, func() any { return &tSet{} },
			spec.Template("set", func(s *tSet) **expression.Template { return &s.Values }, "The variables.").Names().Required()),
		kind("state", processes.Plain, false, func() any { return &tState{} },
			spec.Object("state", func(s *tState) *tProperties { return &s.Settings }, "What.",
				spec.Template("set", func(s *tProperties) **expression.Template { return &s.Set }, "The properties.").Names().Required(),
				spec.Expr("if_version", func(s *tProperties) **expression.Expr { return &s.IfVersion }, "The version.").Number()).Required()),
		kind("log", processes.Plain, false, func() any { return &tLog{} },
			spec.Expr("log", func(s *tLog) **expression.Expr { return &s.Text }, "The line.").Text().Required()),
		kind("if", processes.Choice, false, func() any { return &tIf{} },
			spec.Expr("if", func(s *tIf) **expression.Expr { return &s.If }, "The condition.").Bool().Required(),
			spec.Steps("then", func(s *tIf) *processes.Block { return &s.Then }, "If true.").Required(),
			spec.Steps("else", func(s *tIf) *processes.Block { return &s.Else }, "If false.")),
		kind("switch", processes.Choice, false, func() any { return &tSwitch{} },
			spec.Expr("switch", func(s *tSwitch) **expression.Expr { return &s.Value }, "The value.").Required(),
			spec.Paths("cases", func(s *tSwitch) *[]processes.Path { return &s.Cases }, "Per value.").AnyNames().Required(),
			spec.Steps("default", func(s *tSwitch) *processes.Block { return &s.Default }, "Otherwise.")),
		kind("branch", processes.Parallel, true, func() any { return &tBranch{} },
			spec.Paths("branch", func(s *tBranch) *[]processes.Path { return &s.Paths }, "The paths.").Required(),
			spec.Bool("sequential", func(s *tBranch) *bool { return &s.Sequential }, "One by one.")),
		kind("for_each", processes.Loop, true, func() any { return &tEach{} },
			spec.Expr("for_each", func(s *tEach) **expression.Expr { return &s.List }, "The list.").List().Required(),
			spec.Steps("steps", func(s *tEach) *processes.Block { return &s.Steps }, "Per element.").Required(),
			spec.Name("as", func(s *tEach) *string { return &s.As }, "The element's name."),
			spec.Name("errors", func(s *tEach) *string { return &s.Errors }, "The failures' variable."),
			spec.Int("parallel", func(s *tEach) *int { return &s.Parallel }, "At once.").Or(1).Min(1).Max(256),
			spec.Enum("on_error", func(s *tEach) *string { return &s.OnError }, "Then.", "stop", "continue").Or("stop")),
		kind("repeat", processes.Loop, false, func() any { return &tRepeat{} },
			spec.Object("repeat", func(s *tRepeat) *tRounds { return &s.Settings }, "What to repeat.",
				spec.Int("max", func(s *tRounds) *int { return &s.Max }, "Rounds.").Min(1).Max(10000).Required(),
				spec.Expr("until", func(s *tRounds) **expression.Expr { return &s.Until }, "The end.").Bool().Required(),
				spec.Steps("steps", func(s *tRounds) *processes.Block { return &s.Steps }, "A round.").Required()).Required()),
		kind("try", processes.Attempt, false, func() any { return &tTry{} },
			spec.Steps("try", func(s *tTry) *processes.Block { return &s.Try }, "May fail.").Required(),
			spec.Optional("catch", func(s *tTry) **tCatch { return &s.Catch }, "For a failure.",
				spec.Strings("codes", func(s *tCatch) *[]string { return &s.Codes }, "Which."),
				spec.Bool("handled", func(s *tCatch) *bool { return &s.Handled }, "Expected."),
				spec.Steps("steps", func(s *tCatch) *processes.Block { return &s.Steps }, "The steps.").Required()).Short("steps"),
			spec.Steps("finally", func(s *tTry) *processes.Block { return &s.Finally }, "In every case.")),
		kind("process", processes.Plain, true, func() any { return &tProcess{} },
			spec.Ref("process", func(s *tProcess) *string { return &s.Name }, "process", "Which.").Required(),
			spec.Template("body", func(s *tProcess) **expression.Template { return &s.Body }, "What it gets."),
			spec.Enum("mode", func(s *tProcess) *string { return &s.Mode }, "How.", modes...).Or("wait")),
		kind("reply", processes.Reply, false, func() any { return &tReply{} },
			spec.Template("reply", func(s *tReply) **expression.Template { return &s.Body }, "The answer."),
			spec.Object("soap", func(s *tReply) *tBlocks { return &s.Blocks }, "The envelope.",
				spec.Template("headers", func(b *tBlocks) **expression.Template { return &b.Headers }, "The header blocks.")),
			spec.Expr("status", func(s *tReply) **expression.Expr { return &s.Status }, "The status.").Number()),
		kind("throw", processes.Throw, false, func() any { return &tThrow{} },
			spec.Expr("throw", func(s *tThrow) **expression.Expr { return &s.Message }, "The message."),
			spec.Template("detail", func(s *tThrow) **expression.Template { return &s.Detail }, "The detail."),
			spec.Name("code", func(s *tThrow) *string { return &s.Code }, "The code.").Or("thrown")),
		kind("stop", processes.Stop, false, func() any { return &tStop{} },
			spec.Expr("stop", func(s *tStop) **expression.Expr { return &s.Reason }, "Why.")),
		kind("validate", processes.Plain, false, func() any { return &tValidate{} },
			spec.Ref("validate", func(s *tValidate) *string { return &s.Name }, "profile", "The profile.").Required()),
		kind("wait", processes.Wait, true, func() any { return &tWait{} },
			spec.Name("wait", func(s *tWait) *string { return &s.Name }, "The name.").Required(),
			spec.Expr("key", func(s *tWait) **expression.Expr { return &s.Key }, "The key.").Text(),
			spec.Duration("timeout", func(s *tWait) *time.Duration { return &s.Timeout }, "The longest wait.").Min(time.Millisecond),
			spec.Steps("on_timeout", func(s *tWait) *processes.Block { return &s.OnTimeout }, "Then.")),
		kind("resume", processes.Resume, false, func() any { return &tResume{} },
			spec.Name("resume", func(s *tResume) *string { return &s.Name }, "The name.").Required(),
			spec.Expr("key", func(s *tResume) **expression.Expr { return &s.Key }, "The key.").Text().Required()),
		kind("sleep", processes.Sleep, false, func() any { return &tSleep{} },
			spec.Expr("sleep", func(s *tSleep) **expression.Expr { return &s.For }, "How long.").Text().Required()),
	}
	for i := range list {
		switch list[i].Kind {
		case "validate":
			list[i].Check = func(settings any, c *processes.CheckContext) {
				s := settings.(*tValidate)
				s.profile = c.Project.Profiles[s.Name]
			}
		case "for_each":
			list[i].Check = func(settings any, c *processes.CheckContext) {
				if s := settings.(*tEach); s.Errors != "" && s.OnError != "continue" {
					c.Report(&fault.Problem{Pos: c.Step.Pos, Code: processes.CodeNoEffect, Msg: "`errors:` has no effect without `on_error: continue`", Hint: "add it"})
				}
			}
		}
	}
	return list
}

type webSettings struct {
	URL     string
	Headers []spec.KV
	Auth    webAuth
	Max     int64
}

type webAuth struct{ User, Password string }

type webWith struct {
	Path    string
	Query   []spec.KV
	Depth   int
	Options webOptions
}

type webSelect struct {
	SQL  spec.Statement
	Each any
}

type webOptions struct{ Tags []string }

func testCatalog() *processes.Catalog {
	with := []spec.Field{
		spec.Path("path", func(w *webWith) *string { return &w.Path }, "The path.").Required(),
		spec.StringMap("query", func(w *webWith) *[]spec.KV { return &w.Query }, "The query."),
		spec.Int("depth", func(w *webWith) *int { return &w.Depth }, "How deep.").Or(1).Min(0).Max(9),
		spec.Object("options", func(w *webWith) *webOptions { return &w.Options }, "More.",
			spec.Strings("tags", func(o *webOptions) *[]string { return &o.Tags }, "Tags.")),
	}
	newWith := func() any { return &webWith{} }
	web := &connectors.Connector{
		Name: "web", Doc: "A connector for tests.",
		Settings: []spec.Field{
			spec.String("url", func(s *webSettings) *string { return &s.URL }, "Where.").Required(),
			spec.StringMap("headers", func(s *webSettings) *[]spec.KV { return &s.Headers }, "Headers."),
			spec.Object("auth", func(s *webSettings) *webAuth { return &s.Auth }, "Who.",
				spec.String("user", func(a *webAuth) *string { return &a.User }, "The user.").Required(),
				spec.String("password", func(a *webAuth) *string { return &a.Password }, "The password.").Secret()),
			spec.Size("max_response", func(s *webSettings) *int64 { return &s.Max }, "The largest answer.").Or(10 << 20),
		},
		Operations: []connectors.Operation{
			{Name: "get", Doc: "Reads.", With: with, NewWith: newWith, Safe: true, Check: func(w any) []string {
				if strings.HasPrefix(w.(*webWith).Path, "/../") {
					return []string{"path climbs"}
				}
				return nil
			}},
			{Name: "select", Doc: "Queries.", NewWith: func() any { return &webSelect{} }, With: []spec.Field{
				spec.SQL("sql", func(w *webSelect) *spec.Statement { return &w.SQL }, "The statement.").Required(),
				spec.Each("each", func(w *webSelect) *any { return &w.Each }, "The list."),
			}},
			{Name: "post", Doc: "Writes.", With: with, NewWith: newWith, SendsBody: true},
		},
		NewSettings: func() any { return &webSettings{} },
		Check: func(s any) []string {
			if u := s.(*webSettings).URL; !strings.HasPrefix(u, "http") && !strings.Contains(u, "${") {
				return []string{"url must start with http"}
			}
			return nil
		},
	}
	queue := &connectors.Connector{
		Name: "queue", Doc: "A connector that listens, for tests.",
		Settings:    []spec.Field{spec.String("url", func(s *webSettings) *string { return &s.URL }, "Where.").Required()},
		NewSettings: func() any { return &webSettings{} },
		Subscription: &connectors.Subscription{
			Doc: "Messages of a queue.", NewWith: func() any { return &webWith{} },
			With: []spec.Field{
				spec.String("queue", func(w *webWith) *string { return &w.Path }, "Which.").Required(),
				spec.Int("depth", func(w *webWith) *int { return &w.Depth }, "How deep.").Or(1).Min(0).Max(9),
			},
			Check: func(w any) []string {
				if w.(*webWith).Path == "both" {
					return []string{"both is too much"}
				}
				return nil
			},
			AtMostOnce: func(w any) bool { return w.(*webWith).Path == "lossy" },
		},
	}
	return &processes.Catalog{Steps: testSteps(), Connectors: connectors.Registry{"web": web, "queue": queue}}
}

func (s *tReply) HeaderBlocks() *expression.Template { return s.Blocks.Headers }

func (s *tThrow) FaultDetail() *expression.Template { return s.Detail }

func (s *tMap) Builds() *expression.Template { return s.Template }

func (s *tCall) ExternalCall() processes.ExternalCall {
	return processes.ExternalCall{Operation: s.Operation, Handoff: s.Mode == "handoff", Body: s.Body, Retry: s.Retry, Timeout: s.Timeout}
}

func (s *tProcess) ExternalCall() processes.ExternalCall {
	return processes.ExternalCall{Process: s.Name, Handoff: s.Mode == "handoff", Body: s.Body}
}

func (s *tWait) Suspends() processes.Suspension {
	return processes.Suspension{Name: s.Name, Timeout: s.Timeout, Keyed: s.Key != nil}
}

func (s *tSleep) Suspends() processes.Suspension { return processes.Suspension{For: s.For.Source()} }

func (s *tRepeat) Repeats() processes.Repetition { return processes.Repetition{Max: s.Settings.Max} }

func (s *tBranch) Repeats() processes.Repetition {
	return processes.Repetition{Sequential: s.Sequential}
}

func (s *tIf) Decides() processes.Decision { return processes.Decision{Value: s.If} }

func (s *tSwitch) Decides() processes.Decision {
	return processes.Decision{Value: s.Value, Cases: s.Cases}
}

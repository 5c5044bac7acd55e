package processes

import (
	"time"

	"valence/internal/expression"
	"valence/internal/fault"
)

// Test is a `test:` component: runs of a process in which mocks answer the calls.
type Test struct {
	Name        string
	Description string
	Pos         fault.Pos
	Target      string // the process
	TestSetup
	Expect *Expectation // nil: the execution must not fail
	Cases  []*TestCase  // empty: the test is one run
}

// TestCase is a variant of a test. Its keys replace those of the test; mocks and
// values by name.
type TestCase struct {
	Name string
	Pos  fault.Pos
	TestSetup
	Expect *Expectation // nil: the test's
}

// TestSetup is the message and the surroundings of a run.
type TestSetup struct {
	Input   *Fixture // nil: no document
	Request *TestRequest
	Props   []byte // JSON object; nil: none
	State   []byte // JSON object; nil: none
	Env     map[string]string
	Secrets map[string]string
	Mocks   []*Mock
	Signals []*TestSignal
}

// Fixture is a value in a test, or the content of a file.
type Fixture struct {
	Pos     fault.Pos
	File    string // "" for a value in the test
	Content []byte // JSON text, unless it is the content of a file
}

// TestRequest is the HTTP request of a listener.
type TestRequest struct {
	Method, Path, User     string
	Operation              string // of a SOAP service
	Params, Query, Headers []NamedText
}

// NamedText is a name and a text in an ordered list.
type NamedText struct{ Name, Value string }

// Mock answers the calls of an operation, as connection.operation, or of the
// step with a name.
type Mock struct {
	Of      string
	Pos     fault.Pos
	Answers []*MockAnswer // each is used once, the last one that matches is repeated
}

// MockAnswer is one answer of a mock.
type MockAnswer struct {
	Pos     fault.Pos
	When    *expression.Expr     // over body and with; nil: every call
	Reply   *Fixture             // nil: an empty document
	Compute *expression.Template // the reply, if it has expressions over body and with
	Status  int                  // 0: 200
	Headers []NamedText
	Fail    *MockFailure // nil: it replies
	After   time.Duration
}

// MockFailure is the failure of a mocked call.
type MockFailure struct {
	Code, Message string
	Status        int // of the other system; 0: none
	Retryable     bool
}

// The ways in which a TestSignal arrives.
const (
	ByCallback = "callback"
	ByResume   = "resume"
)

// TestSignal ends a wait.
type TestSignal struct {
	Wait  string
	Pos   fault.Pos
	After time.Duration // since the wait began
	By    string
	Body  *Fixture // nil: an empty document
}

// Expectation describes the outcome that a test requires. Parts that are not set
// may be anything.
type Expectation struct {
	Pos         fault.Pos
	Status      string // "": it must not fail
	Took        *TookBound
	Calls       []*ExpectedCall // in order
	CallsSet    bool
	Reply       *Fixture
	ReplyStatus int
	Error       *Fixture
	Log         []string // in order, with other lines between them
	LogSet      bool
	Exact       bool // of the reply and all bodies
}

// TookBound bounds the virtual time of a run.
type TookBound struct {
	Operator string // <, <=, =, >= or >
	Duration time.Duration
}

// Admits reports whether a duration is within the bound.
func (b *TookBound) Admits(d time.Duration) bool {
	switch b.Operator {
	case "<":
		return d < b.Duration
	case "<=":
		return d <= b.Duration
	case ">":
		return d > b.Duration
	case ">=":
		return d >= b.Duration
	}
	return d == b.Duration
}

// ExpectedCall is one call that a run must make. Nil parts may be anything.
type ExpectedCall struct {
	Of         string // connection.operation, or the name of a step
	Pos        fault.Pos
	Body, With *Fixture
	Exact      bool
}

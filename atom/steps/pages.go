package steps

import (
	"fmt"

	"valence/internal/document"
	"valence/internal/fault"
)

// Pages goes through a paged call, one page at a time.
type Pages interface {
	// Page gives the page behind last; with nil, the one that the journal
	// says this occurrence of the step is at, or the first. What was
	// journaled of the elements of last is let go of.
	Page(f *Frame, c *Call, last *Page) (*Page, error)
	// Done notes that the last page was gone through.
	Done(f *Frame, last *Page) error
}

// Page is one page, and what became of the elements before it.
type Page struct {
	Items  *document.Document // a list
	Next   string             // where the next one begins; "" after the last
	Base   int                // index of its first element
	Done   bool               // all are gone through
	Failed int                // elements that failed so far
	Code   string             // of the first failure
	First  string             // its message
	Bad    []any              // the failures, as `errors:` gives them, at most maxFailures
}

// maxFailures is how many failures `errors:` gives of a stream.
const maxFailures = 1000

// stream runs the elements of every page. Nothing of a finished page stays,
// in memory or in the journal.
func (s *forEach) stream(f *Frame) error {
	c := &Call{Operation: s.Operation, Accept: s.Of.Accept, Retry: s.Of.Retry, Timeout: s.Of.Timeout, Paged: true}
	var err error
	if c.Settings, err = buildObject(f, s.Of.With); err != nil {
		return err
	}
	if err := c.Decode(); err != nil {
		return err
	}
	if s.Operation.Operation.SendsBody {
		c.Body = f.doc
	}
	key := f.step
	page, err := f.rt.Page(f, c, nil)
	for err == nil && !page.Done {
		var list []any
		if list, err = s.items(page); err != nil {
			return err
		}
		n := 0
		n, err = s.page(f, page, list)
		f.step = key // nested steps have changed it
		if err != nil {
			return err
		}
		if page.Base += n; page.Next == "" {
			page.Done = true
			err = f.rt.Done(f, page)
			break
		}
		c.Page = page.Next
		page, err = f.rt.Page(f, c, page)
	}
	if err != nil {
		return err
	}
	return s.summary(f, page)
}

func (s *forEach) items(page *Page) ([]any, error) {
	list, ok := document.Decode(page.Items.Value()).([]any)
	if !ok {
		return nil, fault.Failf(fault.CodeExpression, "a page must be a list, but is %s", document.TypeName(page.Items.Value()))
	}
	return s.batches(list), nil
}

// page runs the elements of one page, and counts their failures in it.
func (s *forEach) page(f *Frame, page *Page, list []any) (int, error) {
	errs, frames := s.run(f, list, page.Base)
	if err := f.left(errs, s.OnError != "continue"); err != nil {
		return 0, err
	}
	for i, err := range errs {
		if frames[i] == nil || isParked(err) {
			continue
		}
		f.Happened(frames[i].env.Now)
		if err == nil || err == stopped {
			continue
		}
		e := fault.AsFailure(err)
		if s.OnError != "continue" {
			return 0, e
		}
		if page.Failed++; page.Failed == 1 {
			page.Code, page.First = e.Code, e.Message
		}
		if s.Errors != "" && len(page.Bad) < maxFailures {
			page.Bad = append(page.Bad, elementFailure(page.Base+i, list[i], e))
		}
	}
	return len(list), nil
}

// summary is what the step comes to once all pages are gone through.
func (s *forEach) summary(f *Frame, page *Page) error {
	text := plural(page.Failed, page.Base, "elements")
	switch {
	case s.Errors != "":
		f.setVar(s.Errors, append([]any{}, page.Bad...))
		if page.Failed > 0 {
			f.rt.Warn(f, text)
		}
	case page.Failed > 0:
		return &fault.Failure{Code: page.Code, Message: fmt.Sprintf("%s, the first: %s", text, page.First)}
	}
	return nil
}

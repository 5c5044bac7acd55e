package steps

import (
	"fmt"

	"valence/internal/document"
	"valence/internal/fault"
)

// Pager reads the pages of a paged call.
type Pager interface {
	// Page returns the page after last, without the journal of the elements of
	// last. After the last page it returns last with Done set. With nil it
	// returns the page that an earlier run was at, or the first one.
	Page(f *Frame, c *Call, last *Page) (*Page, error)
}

// Page is one page, and the results of the elements before it.
type Page struct {
	Items  *document.Document // a list
	Next   string             // position of the next page; "": this is the last
	Pages  int                // pages before this one
	Mark   string             // an earlier Next, to notice paging in a circle
	Base   int                // index of its first element
	Done   bool               // all pages were processed
	Failed int                // elements that failed so far
	Code   string             // of the first failure
	First  string             // its message
	Bad    []any              // the failures for `errors:`, at most maxFailures
}

// maxFailures bounds the failures that `errors:` holds of a paged call.
const maxFailures = 1000

// runPages runs the elements of every page. Finished pages leave nothing in memory
// or in the journal.
func (s *forEach) runPages(f *Frame) error {
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
		n, err = s.runPage(f, page, list)
		f.step = key // nested steps changed it
		if err != nil {
			return err
		}
		page.Base += n
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

// runPage runs the elements of one page and counts their failures.
func (s *forEach) runPage(f *Frame, page *Page, list []any) (int, error) {
	errs, frames := s.run(f, list, page.Base)
	if err := f.runEnd(errs, s.OnError != "continue"); err != nil {
		return 0, err
	}
	if err := ending(errs); err != nil {
		return 0, err
	}
	for i, err := range errs {
		if frames[i] == nil || isSuspended(err) {
			continue
		}
		f.AdvanceClock(frames[i].env.Now)
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

// summary sets the result of the step after all pages.
func (s *forEach) summary(f *Frame, page *Page) error {
	text := failedOf(page.Failed, page.Base, "elements")
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

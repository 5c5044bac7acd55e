package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"valence/internal/cli/terminal"
)

// firstOrder is the order of the first two chapters.
const firstOrder = 4711

// showEvent sends one event of the shop, and then the same event again.
func (d *demo) showEvent(ctx context.Context) error {
	d.verbose.Store(true)
	defer d.verbose.Store(false)
	d.say("\n1. The shop reports that order %d changed", firstOrder)
	d.trace("shop → atom   POST /shop/orders/changed {\"id\": %d}, signed; it carries only the number", firstOrder)
	start := time.Now()
	receipt, err := d.sender.send(ctx, firstOrder, "evt-first")
	if err != nil {
		return err
	}
	d.trace("atom → shop   200 after %s, when the event was on disk: execution %s", terminal.Duration(time.Since(start)), receipt.Execution)
	if err := await(ctx, 15*time.Second, func() bool { return d.shop.invoice(firstOrder) != "" }); err != nil {
		return fmt.Errorf("order %d was not written back: %w", firstOrder, err)
	}
	d.trace("order %d is invoice %s in both systems", firstOrder, d.shop.invoice(firstOrder))

	again, err := d.sender.send(ctx, firstOrder, "evt-first")
	if err != nil {
		return err
	}
	d.trace("shop → atom   the same event again: 200, %q; nothing runs twice", again.Status)
	d.check(again.Status == "duplicate", "a repeated event was not recognized")
	d.check(len(d.erp.invoices(firstOrder)) == 1, "order %d has %d invoices", firstOrder, len(d.erp.invoices(firstOrder)))
	return nil
}

// showRequest makes one request that is answered by a process.
func (d *demo) showRequest(ctx context.Context) error {
	d.verbose.Store(true)
	defer d.verbose.Store(false)
	d.say("\n2. A client requests the documents of order %d and waits", firstOrder)
	d.trace("→ atom        GET /orders/%d/documents", firstOrder)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/orders/%d/documents", d.atom.listen, firstOrder), http.NoBody)
	if err != nil {
		return err
	}
	start := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("request documents: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("request documents: %w", err)
	}
	d.trace("← atom        %d after %s: %s", resp.StatusCode, terminal.Duration(time.Since(start)), strings.TrimSpace(string(text)))
	var answer struct {
		Order     int
		Documents []struct{ Number string }
	}
	correct := json.Unmarshal(text, &answer) == nil && resp.StatusCode == http.StatusOK && answer.Order == firstOrder &&
		len(answer.Documents) == 1 && answer.Documents[0].Number == d.shop.invoice(firstOrder)
	d.check(correct, "the request for documents was not answered with them")
	return nil
}

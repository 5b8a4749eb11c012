// Sorts the tables inside <div class="sorts"> by the column whose head is clicked; again: the other way round.
document.querySelectorAll(".sorts table").forEach((table) => {
  const body = table.tBodies[0];
  const number = (text) => parseFloat(text.replace("−", "-").replace(/^[^\d.-]+/, ""));
  table.querySelectorAll("thead th").forEach((head, place) => {
    head.style.cursor = "pointer";
    head.tabIndex = 0;
    const sort = () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const text = (row) => row.cells[place].textContent.trim();
      const rows = [...body.rows];
      const numbers = rows.some((row) => !Number.isNaN(number(text(row)))) &&
        rows.every((row) => text(row).length < 12);
      rows.sort((one, other) => {
        const [a, b] = [text(one), text(other)];
        if (!numbers) return down ? a.localeCompare(b) : b.localeCompare(a);
        const [x, y] = [number(a), number(b)];
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
        return down ? y - x : x - y;
      });
      body.append(...rows);
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  });
});

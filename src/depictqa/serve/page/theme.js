// Dark or light: as the system says, until the button is pressed; then as chosen, kept in this browser.
const chosen = localStorage.getItem("depictqa-theme");
if (chosen) document.body.classList.toggle("dark", chosen === "dark");
element.querySelector("#dq-theme").addEventListener("click", () => {
  const isDark = document.body.classList.toggle("dark");
  localStorage.setItem("depictqa-theme", isDark ? "dark" : "light");
});
